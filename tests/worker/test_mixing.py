"""Jobs with general data and with a data set to evaluate on: what is trained is what the spec and data.json say."""

import json
import math
import shutil

import pytest

from studio import workspace as names
from studio.data.audit.contract import row_numbers
from studio.data.dataset import read_examples
from studio.errors import UserError
from studio.jobs.events import EventWriter, Finished, Metrics, Started, Warned
from studio.jobs.training_data import UsedData
from studio.worker import train as train_module
from studio.worker.ingredients import tokenized_rows
from tests.conftest import import_rows, instruction_rows, write_rows
from tests.worker.conftest import learned_bytes, of_kind, train_in, values_of

pytestmark = pytest.mark.slow
MIXED = {"max_steps": 6, "learning_rate": 0.01, "save_total_limit": 3, "general_share": 0.25}


@pytest.fixture(scope="module")
def general(lab, tmp_path_factory):
    rows = [{**row, "instruction": f"general {i}"} for i, row in enumerate(instruction_rows(12))]
    return import_rows(lab.workspace, write_rows(tmp_path_factory.mktemp("general") / "general.jsonl", rows))


@pytest.fixture(scope="module")
def exam(lab, tmp_path_factory):
    """Five rows to evaluate on, the last with a question so long that nothing of its answer is left."""
    rows = [{**row, "instruction": f"exam {i}"} for i, row in enumerate(instruction_rows(5))]
    rows[-1]["instruction"] = "fog and gulls " * 60
    return import_rows(lab.workspace, write_rows(tmp_path_factory.mktemp("exam") / "exam.jsonl", rows))


@pytest.fixture(scope="module")
def mixed(lab, general):
    """A job of six steps with a quarter of general examples."""
    return lab.train(lab.spec("lora", general_dataset=general, **MIXED))


@pytest.fixture(scope="module")
def examined(lab, exam):
    """A job of three steps that evaluates on a data set of its own."""
    return lab.train(lab.spec("lora", eval_dataset=exam))


def noted(folder) -> UsedData:
    return UsedData(**json.loads((folder / names.DATA).read_text()))


def gathered(lab, spec):
    return train_module.gather_ingredients(spec, lab.workspace, EventWriter(lab.folder(spec) / names.EVENTS))


def test_a_mixed_job_trains_and_counts_every_example(lab, general, mixed):
    [started] = of_kind(mixed, Started)
    assert (started.train_examples, started.eval_examples) == (29, 2)
    assert of_kind(mixed, Finished)[-1].step == 6
    assert of_kind(mixed, Warned) == []
    used = noted(mixed)
    assert (used.train_examples, used.general_examples, used.eval_examples) == (29, 7, 2)
    assert used.dataset.model_dump() == {**lab.instructions, "rows": 24}
    assert used.general_dataset.model_dump() == {**general, "rows": 12}
    assert used.eval_dataset is None
    assert (used.train_too_long, used.eval_too_long) == (0, 0)
    assert len(row_numbers(used.held_out_rows)) == 2
    assert len(row_numbers(used.general_rows)) == 7


def test_the_noted_rows_are_the_ones_that_were_handed_to_the_trainer(lab, general, mixed):
    from studio.data.chat_template import ChatTokenizer

    spec = lab.spec("lora", general_dataset=general, **MIXED)
    used, chat = noted(mixed), ChatTokenizer(lab.model, "model")
    ours, theirs = (read_examples(lab.workspace.dataset(one["id"])) for one in (lab.instructions, general))
    held_out = row_numbers(used.held_out_rows)
    learned = [example for row, example in enumerate(ours, start=1) if row not in held_out]
    learned += [theirs[row - 1] for row in row_numbers(used.general_rows)]
    given = gathered(lab, spec)
    assert given.used == used
    for rows, examples in ((given.train_rows, learned), (given.eval_rows, [ours[row - 1] for row in held_out])):
        wanted, _ = tokenized_rows(examples, chat, spec)
        assert sorted(row["input_ids"] for row in rows) == sorted(row["input_ids"] for row in wanted)


def test_a_mixed_job_that_was_interrupted_ends_bit_for_bit_as_if_it_had_not(lab, mixed):
    folder = lab.copy(mixed)
    before = (folder / names.DATA).read_bytes()
    shutil.rmtree(folder / names.ADAPTER)
    for step in (4, 6):
        shutil.rmtree(folder / names.CHECKPOINTS / f"checkpoint-{step}")
    train_in(folder)
    assert of_kind(folder, Started)[-1].resumed_from == 2
    assert learned_bytes(folder) == learned_bytes(mixed)
    assert values_of(folder, "loss")[-4:] == values_of(mixed, "loss")[-4:]
    assert (folder / names.DATA).read_bytes() == before
    assert of_kind(folder, Warned) == []


def test_general_examples_change_what_is_learned(lab, mixed):
    alone = lab.train(lab.spec("lora", **MIXED))
    assert learned_bytes(alone) != learned_bytes(mixed)
    assert noted(alone).general_rows == ""


def test_an_attempt_that_learns_from_other_rows_is_told(lab):
    folder = lab.folder(lab.spec("lora", max_steps=1))
    train_in(folder)
    note = json.loads((folder / names.DATA).read_text())
    (folder / names.DATA).write_text(json.dumps({**note, "held_out_rows": "1-2"}))
    train_in(folder)
    assert "not learn from the same rows" in of_kind(folder, Warned)[-1].message
    assert json.loads((folder / names.DATA).read_text()) == note


def test_a_data_set_of_its_own_evaluates_and_every_own_row_is_learned(lab, exam, examined):
    [started] = of_kind(examined, Started)
    assert (started.train_examples, started.eval_examples) == (24, 4)
    evaluated = [event.step for event in of_kind(examined, Metrics) if "eval_loss" in event.values]
    assert evaluated == [2, 3]
    assert all(math.isfinite(loss) for loss in values_of(examined, "eval_loss"))
    used = noted(examined)
    assert (used.held_out_rows, used.eval_examples, used.eval_too_long) == ("", 5, 1)
    assert used.eval_dataset.model_dump() == {**exam, "rows": 5}
    [warned] = of_kind(examined, Warned)
    assert warned.message.startswith("1 of 5 examples for evaluation are left out")


def test_the_evaluation_loss_is_that_of_the_files_rows(lab, exam, examined):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    given = gathered(lab, lab.spec("lora", eval_dataset=exam))
    model = AutoModelForCausalLM.from_pretrained(lab.model, trust_remote_code=False, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, examined / names.ADAPTER).eval()
    total = learned = 0.0
    with torch.no_grad():
        for row in given.eval_rows:
            labels = torch.tensor([row["labels"]])
            count = int((labels[:, 1:] != -100).sum())
            total += float(model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss) * count
            learned += count
    assert values_of(examined, "eval_loss")[-1] == pytest.approx(total / learned, rel=1e-4)


def test_too_few_general_examples_are_a_warning_of_the_job(lab, general):
    folder = lab.train(lab.spec("lora", max_steps=1, general_dataset=general, general_share=0.6))
    [warned] = of_kind(folder, Warned)
    assert "only 12 examples, 33 were wanted" in warned.message
    assert of_kind(folder, Started)[0].train_examples == 34


def test_a_general_data_set_that_changed_ends_the_job_before_it_starts(lab, general):
    folder = lab.folder(lab.spec("lora", general_dataset={**general, "sha256": "0" * 64}))
    with pytest.raises(UserError, match="not what it was"):
        train_in(folder)
    assert not (folder / names.DATA).exists()
