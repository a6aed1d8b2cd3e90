"""Which examples a job learns from: as the spec says, the same every time, and noted row by row."""

import json

import pytest

from studio.data.audit.contract import Finding, row_numbers
from studio.data.dataset import read_examples
from studio.data.snapshots import take_snapshot
from studio.data.steps import add_step, remove_step, step_for
from studio.errors import UserError
from studio.jobs.training_data import expect, gather, refer_to
from tests.conftest import import_rows, instruction_rows, tiny_spec, write_rows


def rows_named(name: str, count: int) -> list[dict]:
    return [{**row, "instruction": f"{name} {i}"} for i, row in enumerate(instruction_rows(count))]


def texts(examples) -> list[str]:
    return [json.dumps(example) for example in examples]


def about(examples, name: str) -> int:
    return sum(f'"content": "{name} ' in text for text in texts(examples))


@pytest.fixture
def general(workspace, tmp_path):
    return import_rows(workspace, write_rows(tmp_path / "general.jsonl", rows_named("general", 10)))


@pytest.fixture
def exam(workspace, tmp_path):
    return import_rows(workspace, write_rows(tmp_path / "exam.jsonl", rows_named("exam", 5)))


@pytest.fixture
def drop_rows(workspace):
    """Drops rows of a data set, as a user does about a finding."""

    def drop(dataset, spans):
        folder = workspace.dataset(dataset["id"])
        count = len(row_numbers(spans))
        finding = Finding(code="empty_answer", severity="warning", count=count, rows=spans, remedies=("drop",))
        add_step(folder, step_for(finding, "drop"))
        take_snapshot(folder)

    return drop


def test_a_job_without_other_data_splits_its_own_in_the_files_order(workspace, instructions, tiny_model):
    spec = tiny_spec("lora", instructions, tiny_model, eval_share=0.25)
    data = gather(spec, workspace)
    examples = read_examples(workspace.dataset(instructions["id"]))
    held_out = set(row_numbers(data.used.held_out_rows))
    assert len(held_out) == 6
    assert data.train == [example for row, example in enumerate(examples, start=1) if row not in held_out]
    assert data.evaluation == [example for row, example in enumerate(examples, start=1) if row in held_out]
    assert (data.used.train_examples, data.used.eval_examples, data.used.general_examples) == (18, 6, 0)
    assert (data.used.eval_dataset, data.used.general_dataset, data.used.general_rows) == (None, None, "")
    assert data.used.dataset.model_dump() == {**instructions, "rows": 24}
    assert list(data.warnings()) == []


def test_general_examples_are_mixed_in_after_the_split(workspace, instructions, general, tiny_model):
    spec = tiny_spec("lora", instructions, tiny_model, eval_share=0.25, general_dataset=general, general_share=0.25)
    data = gather(spec, workspace)
    assert about(data.evaluation, "general") == 0
    assert (about(data.train, "general"), len(data.train), len(data.evaluation)) == (6, 24, 6)
    taken = [read_examples(workspace.dataset(general["id"]))[row - 1] for row in row_numbers(data.used.general_rows)]
    assert sorted(texts(taken)) == sorted(text for text in texts(data.train) if "general" in text)
    plain = gather(spec.model_copy(update={"general_dataset": None}), workspace)
    assert plain.evaluation == data.evaluation
    assert sorted(texts(data.train)) == sorted(texts(plain.train + taken))
    assert data.used.general_dataset.model_dump() == {**general, "rows": 10}


def test_gathering_again_gives_the_same_and_another_seed_others(workspace, instructions, general, tiny_model):
    spec = tiny_spec("lora", instructions, tiny_model, general_dataset=general)
    first, again = gather(spec, workspace), gather(spec, workspace)
    assert (first.train, first.evaluation, first.used) == (again.train, again.evaluation, again.used)
    other = gather(spec.model_copy(update={"seed": 7}), workspace)
    assert other.used != first.used


def test_a_data_set_to_evaluate_on_leaves_every_own_example_to_training(workspace, instructions, exam, tiny_model):
    data = gather(tiny_spec("lora", instructions, tiny_model, eval_dataset=exam, eval_share=0.5), workspace)
    assert len(data.train) == data.used.train_examples == 24
    assert data.evaluation == read_examples(workspace.dataset(exam["id"]))
    assert (data.used.held_out_rows, data.used.eval_examples) == ("", 5)
    assert data.used.eval_dataset.model_dump() == {**exam, "rows": 5}


def test_too_few_general_examples_and_known_questions_are_told(workspace, instructions, general, tiny_model, tmp_path):
    rows = [*instruction_rows()[:3], *rows_named("exam", 2)]
    exam = import_rows(workspace, write_rows(tmp_path / "known.jsonl", rows))
    other = {"eval_dataset": exam, "general_dataset": general, "general_share": 0.5}
    shortage, known = gather(tiny_spec("lora", instructions, tiny_model, **other), workspace).warnings()
    assert "only 10 examples, 24 were wanted" in shortage
    assert known.startswith("3 of 5 examples for evaluation are trained on as well")


def test_a_job_keeps_the_examples_that_it_was_made_with(workspace, instructions, tiny_model, drop_rows):
    drop_rows(instructions, "1-4")
    reference = refer_to(instructions["id"], workspace)
    assert reference.sha256 != instructions["sha256"]
    spec = tiny_spec("lora", reference.model_dump(), tiny_model, eval_share=0)
    drop_rows(instructions, "5-20")
    assert refer_to(instructions["id"], workspace) != reference
    remaining = read_examples(workspace.dataset(instructions["id"]))[4:]
    assert gather(spec, workspace).train == remaining
    assert gather(tiny_spec("lora", instructions, tiny_model, eval_share=0), workspace).used.dataset.rows == 24
    folder = workspace.dataset(instructions["id"])
    remove_step(folder)
    remove_step(folder)
    take_snapshot(folder)
    assert refer_to(instructions["id"], workspace).model_dump() == instructions
    assert gather(spec, workspace).train == remaining


@pytest.mark.parametrize("field", ["eval_dataset", "general_dataset"])
def test_every_data_set_is_verified_by_its_hash(workspace, instructions, general, tiny_model, field):
    spec = tiny_spec("lora", instructions, tiny_model, **{field: {**general, "sha256": "0" * 64}})
    with pytest.raises(UserError, match="not what it was"):
        gather(spec, workspace)


def test_kinds_that_do_not_go_together_are_refused_here_too(workspace, instructions, preferences, tiny_model):
    for field in ("eval_dataset", "general_dataset"):
        with pytest.raises(UserError, match="does not go with"):
            gather(tiny_spec("lora", instructions, tiny_model, **{field: preferences}), workspace)


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_share": 0.0},
        {"eval_share": 0.3},
        {"eval_share": 0.01, "general_share": 0.1},
        {"eval_share": 0.2, "general_share": 0.25},
        {"general_share": 0.9},
        {"general_share": 0.0},
    ],
)
@pytest.mark.parametrize("with_exam", [False, True])
def test_what_is_expected_comes_about(workspace, instructions, general, exam, tiny_model, changes, with_exam):
    other = {"general_dataset": general} if "general_share" in changes else {}
    other |= {"eval_dataset": exam} if with_exam else {}
    spec = tiny_spec("lora", instructions, tiny_model, **changes, **other)
    expected, used = expect(spec, workspace), gather(spec, workspace).used
    found = (used.train_examples, used.general_examples, used.eval_examples)
    assert (expected.train, expected.general, expected.evaluation) == found
