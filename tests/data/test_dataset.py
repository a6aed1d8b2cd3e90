"""Recognise, convert, check, keep: all rows or none, the words unchanged."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data import isolation
from studio.data.dataset import read_examples, read_first_rows, recognise, split, verified_examples
from studio.data.isolation import import_file, run_isolated
from studio.errors import UserError
from tests.conftest import instruction_rows, write_rows

SAMPLES = Path(__file__).parent.parent.parent / "samples"
USER = {"role": "user", "content": "q"}
ASSISTANT = {"role": "assistant", "content": "a"}
CASES = [
    ({"instruction": "q", "output": "a"}, "alpaca", {"prompt": [USER], "completion": [ASSISTANT]}),
    (
        {"instruction": "q", "input": "i", "output": "a", "system": "s", "history": [["h", "r"]]},
        "alpaca",
        {
            "prompt": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "h"},
                {"role": "assistant", "content": "r"},
                {"role": "user", "content": "q\n\ni"},
            ],
            "completion": [ASSISTANT],
        },
    ),
    (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        "sharegpt",
        {"messages": [USER, ASSISTANT]},
    ),
    ({"messages": [USER, ASSISTANT]}, "messages", {"messages": [USER, ASSISTANT]}),
    ({"prompt": "q", "completion": "a"}, "prompt_completion", {"prompt": [USER], "completion": [ASSISTANT]}),
    ({"prompt": [USER], "completion": [ASSISTANT]}, "prompt_completion", {"prompt": [USER], "completion": [ASSISTANT]}),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        "preference",
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{"role": "assistant", "content": "b"}]},
    ),
    (
        {"chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "b"}]},
        "preference",
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{"role": "assistant", "content": "b"}]},
    ),
    (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        "preference",
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{"role": "assistant", "content": "b"}]},
    ),
    (
        {"messages": [USER, ASSISTANT], "label": False},
        "unpaired_preference",
        {"prompt": [USER], "completion": [ASSISTANT], "label": False},
    ),
    ({"text": "t"}, "text", {"text": "t"}),
]


@pytest.mark.parametrize(("row", "name", "example"), CASES, ids=[f"{i}-{case[1]}" for i, case in enumerate(CASES)])
def test_rows_become_examples(row, name, example):
    dataset_format, reason = recognise(row)
    assert dataset_format.name == name
    assert reason
    assert dataset_format.to_example(row) == example


def test_unknown_columns_are_named_with_what_is_missing():
    with pytest.raises(UserError, match="also needs 'output'"):
        recognise({"instruction": "q", "input": ""})
    with pytest.raises(UserError, match="'foo'"):
        recognise({"foo": 1})


def test_a_file_becomes_a_data_set(workspace, tmp_path):
    file = write_rows(tmp_path / "my rows.jsonl", [*instruction_rows(5), instruction_rows(1)[0]])
    before = file.read_bytes()
    record = import_file(file, workspace).record
    folder = workspace.dataset(record.id)
    assert (record.rows, record.format, record.dataset_type) == (6, "alpaca", "prompt_completion")
    assert record.name == "my rows"
    assert "repeat" in record.warnings[0]["message"]
    assert record.warnings[0]["row"] == 6
    assert file.read_bytes() == before == (folder / "source").read_bytes()
    assert len(verified_examples(folder, record.sha256)) == 6
    assert read_first_rows(folder)[0]["instruction"] == "what is question 0"


def test_a_bad_row_refuses_the_file_and_leaves_nothing(workspace, tmp_path):
    rows = instruction_rows(4)
    rows[2]["output"] = "  "
    del rows[3]["output"]
    verdict = import_file(write_rows(tmp_path / "x.jsonl", rows), workspace)
    assert verdict.record is None
    assert [(error["row"], error["line"], error["column"]) for error in verdict.errors] == [
        (3, 3, "output"),
        (4, 4, "output"),
    ]
    assert "empty" in verdict.errors[0]["message"]
    assert list(workspace.datasets.iterdir()) == []


def test_bad_rows_are_left_out_when_asked(workspace, tmp_path):
    rows = instruction_rows(4)
    rows[1]["output"] = None
    record = import_file(write_rows(tmp_path / "x.jsonl", rows), workspace, drop_bad_rows=True).record
    assert record.rows == 3
    assert record.dropped_rows == [2]


@pytest.mark.parametrize("label", ["false", "true", 0, 1, None, 1.0])
def test_a_label_is_true_or_false_and_nothing_else(workspace, tmp_path, label):
    rows = [{"prompt": "q", "completion": "a", "label": label}]
    verdict = import_file(write_rows(tmp_path / "x.jsonl", rows), workspace)
    assert verdict.record is None
    assert verdict.errors[0]["column"] == "label"


def test_identical_answers_are_no_preference(workspace, tmp_path):
    rows = [{"prompt": "q", "chosen": "a", "rejected": "a"}]
    assert import_file(write_rows(tmp_path / "x.jsonl", rows), workspace).errors[0]["row"] == 1


def test_half_a_character_is_refused(workspace, tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"instruction": "q", "output": "\\ud83d"}\n')
    error = import_file(file, workspace).errors[0]
    assert (error["row"], error["column"]) == (1, "completion")


def test_a_changed_data_set_is_noticed(workspace, instructions):
    folder = workspace.dataset(instructions["id"])
    (folder / "examples.jsonl").write_text((folder / "examples.jsonl").read_text().replace("lamp", "lamb", 1))
    with pytest.raises(UserError, match="not what it was"):
        verified_examples(folder, instructions["sha256"])


@pytest.mark.parametrize("content", [b"null", b"[" * 20_000, b"\x00" * 1000, b"PK\x03\x04junk", b'{"a":1}' * 3])
def test_whatever_a_file_holds_the_studio_lives(workspace, tmp_path, content):
    file = tmp_path / "evil.json"
    file.write_bytes(content)
    with pytest.raises(UserError):
        import_file(file, workspace)
    assert list(workspace.datasets.iterdir()) == []


def test_a_reader_that_dies_or_hangs_is_a_sentence(monkeypatch, tmp_path):
    class Killed:
        returncode, stdout, stderr = -9, b"", b""

    monkeypatch.setattr(isolation.subprocess, "run", lambda *a, **k: Killed)
    with pytest.raises(UserError, match="exit code -9"):
        run_isolated("convert", file="x")

    def hang(*args, **options):
        raise isolation.subprocess.TimeoutExpired("reader", 1)

    monkeypatch.setattr(isolation.subprocess, "run", hang)
    with pytest.raises(UserError, match="took longer"):
        run_isolated("convert", file="x")


@given(count=st.integers(1, 60), share=st.floats(0, 0.5), seed=st.integers(0, 9))
def test_a_split_loses_and_repeats_nothing(count, share, seed):
    examples = [{"text": str(i)} for i in range(count)]
    train, held_out = split(examples, share, seed)
    assert sorted(int(e["text"]) for e in train + held_out) == list(range(count))
    assert train
    assert (len(held_out) > 0) == (share > 0 and count > 1)
    assert split(examples, share, seed) == (train, held_out)


@pytest.mark.parametrize(("file", "least"), [("lighthouse-keeper.jsonl", 100), ("plain-answers.jsonl", 100)])
def test_our_samples_are_real(workspace, file, least):
    record = import_file(SAMPLES / file, workspace).record
    assert record.rows >= least
    assert not record.warnings
    examples = read_examples(workspace.dataset(record.id))
    prompts = {json.dumps(example["prompt"]) for example in examples}
    assert len(prompts) == len(examples)
