"""Recognise, convert, check, keep: all rows or none, the words unchanged."""

import json
import sys
import threading
from pathlib import Path

import pytest

from studio.data import isolation
from studio.data.dataset import read_examples, read_first_rows, verified_examples
from studio.data.examples import RowError
from studio.data.isolation import Cancelled, import_file, run_isolated
from studio.data.mapping import ColumnMapping
from studio.data.recognition import recognise
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
    dataset_format, reason = recognise([row])
    assert dataset_format.name == name
    assert reason
    assert dataset_format.to_example(row) == example


def test_unknown_columns_are_named_with_what_is_missing():
    with pytest.raises(RowError, match="also needs 'output'"):
        recognise([{"instruction": "q", "input": ""}])
    with pytest.raises(RowError, match="'foo'"):
        recognise([{"foo": 1}])


def test_a_file_becomes_a_data_set(workspace, tmp_path):
    file = write_rows(tmp_path / "my rows.jsonl", [*instruction_rows(5), instruction_rows(1)[0]])
    before = file.read_bytes()
    record = import_file(file, workspace).record
    folder = workspace.dataset(record.id)
    assert (record.rows, record.format, record.dataset_type) == (6, "alpaca", "prompt_completion")
    assert record.name == "my rows"
    assert file.read_bytes() == before == (folder / "source" / "0.jsonl").read_bytes()
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
    assert (error["row"], error["column"]) == (1, "output")


def test_a_changed_data_set_is_noticed(workspace, instructions):
    folder = workspace.dataset(instructions["id"])
    (folder / "examples.jsonl").write_text((folder / "examples.jsonl").read_text().replace("lamp", "lamb", 1))
    with pytest.raises(UserError, match="not what it was"):
        verified_examples(folder, instructions["sha256"])


@pytest.mark.child
@pytest.mark.parametrize("content", [b"null", b"[" * 20_000, b"\x00" * 1000, b"PK\x03\x04junk", b'{"a":1}' * 3])
def test_whatever_a_file_holds_the_studio_lives(workspace, tmp_path, content):
    file = tmp_path / "evil.json"
    file.write_bytes(content)
    verdict = import_file(file, workspace)
    assert verdict.record is None
    assert verdict.errors[0]["message"]
    assert list(workspace.datasets.iterdir()) == []


def child(monkeypatch, program):
    """Let another program stand in for the child that reads."""
    real = isolation.subprocess.Popen
    monkeypatch.setattr(
        isolation.subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", program], **options)
    )


@pytest.mark.child
def test_a_reader_that_is_killed_is_a_sentence(monkeypatch):
    child(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match="exit code -9"):
        run_isolated("convert", files=[])


@pytest.mark.child
def test_a_reader_that_hangs_is_ended(monkeypatch):
    child(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(isolation, "SILENCE", 0.3)
    with pytest.raises(UserError, match="without a sign of life"):
        run_isolated("convert", files=[])
    monkeypatch.setitem(isolation.SECONDS, "convert", 0.2)
    with pytest.raises(UserError, match="took longer"):
        run_isolated("convert", files=[])


@pytest.mark.child
def test_a_bug_in_a_reader_is_a_bug_and_not_the_users_fault(monkeypatch):
    child(monkeypatch, "raise KeyError('oops')")
    with pytest.raises(RuntimeError, match="oops"):
        run_isolated("convert", files=[])


@pytest.mark.child
def test_an_import_tells_how_far_it_is_and_can_be_cancelled(workspace, tmp_path):
    file = write_rows(tmp_path / "many.jsonl", instruction_rows(20_000))
    told = []
    assert import_file(file, workspace, told=lambda share, known: told.append((share, known))).record
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) > 5
    assert told[0][1]["format"] == "Alpaca"
    assert len(told[0][1]["examples"]) == 5
    kept = list(workspace.datasets.iterdir())
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        import_file(file, workspace, told=lambda share, known: cancelled.set(), cancelled=cancelled)
    assert list(workspace.datasets.iterdir()) == kept


def test_several_files_are_one_data_set_and_rows_count_through(workspace, tmp_path):
    first, second = (write_rows(tmp_path / f"{name}.jsonl", instruction_rows(3)) for name in "ab")
    record = import_file([first, second], workspace).record
    assert (record.rows, record.source_name) == (6, "a.jsonl + 1")
    rows = [*instruction_rows(2), {"instruction": "q", "output": ""}]
    error = import_file([first, write_rows(second, rows)], workspace).errors[0]
    assert (error["row"], error["line"]) == (6, 3)
    assert "b.jsonl" in error["message"]
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    assert "different formats" in import_file([first, pairs], workspace).errors[0]["message"]


def test_unknown_columns_can_be_mapped(workspace, tmp_path):
    file = write_rows(tmp_path / "x.jsonl", [{"ask": "q", "say": "a"}, {"ask": "p", "say": "b"}])
    verdict = import_file(file, workspace)
    assert verdict.record is None
    assert verdict.columns == ["ask", "say"]
    assert verdict.suggestion is not None
    assert verdict.first_rows[0] == {"ask": "q", "say": "a"}
    mapping = ColumnMapping(format="prompt_completion", columns={"prompt": "ask", "completion": "say"})
    record = import_file(file, workspace, mapping=mapping).record
    assert record.mapping == mapping
    assert read_examples(workspace.dataset(record.id))[1] == {
        "prompt": [{"role": "user", "content": "p"}],
        "completion": [{"role": "assistant", "content": "b"}],
    }


def test_another_encoding_is_offered_and_never_guessed(workspace, tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_bytes('{"instruction": "你好吗", "output": "我很好，谢谢"}\n'.encode("gb18030") * 3)
    verdict = import_file(file, workspace)
    assert verdict.record is None
    offered = dict(verdict.encodings)
    assert "你好吗" in offered["gb18030"]
    record = import_file(file, workspace, encoding="gb18030").record
    assert "我很好，谢谢" in str(read_examples(workspace.dataset(record.id))[0])


def test_what_can_be_left_out_is_said(workspace, tmp_path):
    rows = instruction_rows(3)
    rows[1]["output"] = ""
    assert import_file(write_rows(tmp_path / "x.jsonl", rows), workspace).can_drop
    (tmp_path / "y.json").write_text(json.dumps(rows)[:-20])
    assert not import_file(tmp_path / "y.json", workspace).can_drop


@pytest.mark.parametrize(("file", "least"), [("lighthouse-keeper.jsonl", 100), ("plain-answers.jsonl", 100)])
def test_our_samples_are_real(workspace, file, least):
    record = import_file(SAMPLES / file, workspace).record
    assert record.rows >= least
    assert not record.warnings
    examples = read_examples(workspace.dataset(record.id))
    prompts = {json.dumps(example["prompt"]) for example in examples}
    assert len(prompts) == len(examples)
