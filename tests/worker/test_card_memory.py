"""What a job on a card writes down, with a card that is played: the real one is not needed for the path."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from studio import hardware
from studio.errors import UserError
from studio.jobs.memory_plan import box_of, read_measured, setup_of, spec_values
from studio.jobs.spec import build_spec
from studio.memory.estimate import GIB
from studio.memory.gpus import find
from studio.ui import memory_jobs
from studio.worker.card_memory import _lengths, measured
from studio.worker.probe import longest as longest_row
from studio.workspace import MEMORY, PROBE, read_json, write_json
from tests.conftest import tiny_spec

ROWS = [{"input_ids": [1] * 40, "labels": [-100] * 30 + [1] * 10}, {"input_ids": [1] * 64, "labels": [1] * 64}]


class PlayedCard:
    """A card that tells what it is told to."""

    def __init__(self, allocated=5 * GIB, total=24 * GIB):
        self.bytes, self.all, self.was_reset = allocated, total, False

    def name(self):
        return "RTX 4090"

    def total(self):
        return self.all

    def reset(self):
        self.was_reset = True

    def allocated(self):
        return self.bytes

    def reserved(self):
        return self.bytes + GIB

    def driver(self):
        return self.bytes + 2 * GIB


@pytest.fixture
def trainer(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, trust_remote_code=False)
    return SimpleNamespace(model=model, args=SimpleNamespace(gradient_checkpointing=True), real_tokens=1000)


def job_of(studio, spec):
    job = studio.store.create(spec)
    return job, studio.workspace.job(job)


def test_a_job_keeps_predicted_and_measured(studio, instructions, tiny_model, trainer):
    spec = tiny_spec("lora", instructions, tiny_model)
    _, folder = job_of(studio, spec)
    card = PlayedCard()
    with measured(folder, spec, trainer, ROWS, card):
        assert card.was_reset
    record = read_json(folder / MEMORY)
    assert record["allocated"] == 5 * GIB
    assert record["driver"] - record["reserved"] == GIB
    assert record["setup"]["length"] == 64
    assert record["setup"]["checkpointing"] is True
    assert record["setup"]["supervised_share"] == pytest.approx(74 / 104)
    assert record["setup"]["dtype"] == "float32"
    assert record["predicted"] > 0
    assert record["tokens_per_second"] > 0
    assert record["out_of_memory"] is False


def test_without_a_card_nothing_is_written(studio, instructions, tiny_model, trainer):
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    spec = tiny_spec("lora", instructions, tiny_model)
    _, folder = job_of(studio, spec)
    with measured(folder, spec, trainer, ROWS):
        pass
    assert not (folder / MEMORY).exists()


def test_three_jobs_correct_the_box(studio, instructions, tiny_model, trainer):
    spec = tiny_spec("lora", instructions, tiny_model)
    for _ in range(3):
        _, folder = job_of(studio, spec)
        with measured(folder, spec, trainer, ROWS, PlayedCard()):
            pass
    assert len(read_measured(studio.workspace)) == 3
    box = box_of(studio.workspace, find("RTX 4090"))
    assert box.jobs == 3
    assert box.context == GIB


def test_a_job_that_runs_out_leaves_a_post_mortem_and_corrects_nothing(studio, instructions, tiny_model, trainer):
    spec = tiny_spec("lora", instructions, tiny_model)
    job, folder = job_of(studio, spec)
    with pytest.raises(torch.OutOfMemoryError), measured(folder, spec, trainer, ROWS, PlayedCard()):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert read_measured(studio.workspace) == []
    told = memory_jobs.memory_of_finished(studio, job)
    assert told["out_of_memory"] is True
    assert told["grew"] in memory_jobs.MOVING


def test_the_post_mortem_offers_settings_that_fit_and_starts_one(studio, instructions, monkeypatch):
    big = {"base_model": "meta-llama/Llama-2-7b-hf", "max_length": 4096, "per_device_train_batch_size": 8}
    spec = tiny_spec("lora", instructions, "unused", **big)
    job, folder = job_of(studio, spec)
    setup = {**vars(setup_of(spec))}
    record = {
        "card": "RTX 4090", "card_bytes": 24 * GIB, "setup": setup, "predicted": 80 * GIB, "resident": 13 * GIB,
        "needed": 81 * GIB, "phase": "backward_last", "parts": {"weights": 13 * GIB, "activations": 60 * GIB},
        "allocated": 23 * GIB, "reserved": 23 * GIB, "driver": None, "out_of_memory": True,
    }  # fmt: skip
    write_json(folder / MEMORY, record)
    told = memory_jobs.memory_of_finished(studio, job)
    assert told["grew"] == "activations"
    assert 1 <= len(told["ways"]) <= 3
    (folder / MEMORY).rename(folder / PROBE)  # a probe that ran out offers the same
    assert memory_jobs.memory_of_finished(studio, job)["ways"] == told["ways"]

    started = []
    monkeypatch.setattr(type(studio), "start_job", lambda self, spec: started.append(spec) or "new-job")
    assert memory_jobs.retry(studio, job, 0) == "new-job"
    assert started[0] != spec
    assert started[0].base_model == spec.base_model


def test_no_probe_while_a_job_has_the_card(studio, instructions, tiny_model, monkeypatch):
    job, _ = job_of(studio, tiny_spec("lora", instructions, tiny_model))
    running = SimpleNamespace(name="another", status="running")
    monkeypatch.setattr(type(studio.store), "views", lambda self: [running])
    with pytest.raises(UserError, match="another has the card"):
        memory_jobs.probe_job(studio, job)


@pytest.mark.parametrize(
    ("row", "longest", "share"),
    [({"input_ids": [1] * 9, "labels": [-100] * 6 + [1] * 3}, 9, 3 / 9),
     ({"prompt_ids": [1] * 4, "chosen_ids": [1] * 6, "rejected_ids": [1] * 2}, 10, 8 / 16),
     ({"prompt_ids": [1] * 4, "completion_ids": [1] * 4, "KL_completion_ids": [1] * 9, "label": True}, 8, 4 / 8),
     ({"chosen_input_ids": [1] * 8, "chosen_labels": [-100] * 6 + [1] * 2, "rejected_input_ids": [1] * 4,
       "rejected_labels": [-100] * 4}, 8, 2 / 12),
     ({"chosen_ids": [1] * 5, "rejected_ids": [1] * 7}, 7, 1.0), ({"prompt": [1] * 3}, 100, 1.0)],
    ids=["sft", "dpo", "kto", "orpo", "reward", "grpo"],
)  # fmt: skip
def test_every_objectives_rows_tell_their_length_and_share(row, longest, share, instructions, tiny_model):
    spec = tiny_spec("lora", instructions, tiny_model, max_length=100)
    assert _lengths(spec, [row]) == (longest, pytest.approx(share))
    assert longest_row([row, {"input_ids": [1]}]) is row


def test_a_job_without_figures_tells_none(studio, instructions, tiny_model):
    job, _ = job_of(studio, tiny_spec("lora", instructions, tiny_model))
    assert set(memory_jobs.memory_of_finished(studio, job)) == {"can_probe"}


def test_every_change_of_a_knob_becomes_an_option_of_a_job(instructions, tiny_model):
    spec = tiny_spec("lora", instructions, tiny_model)
    changes = {
        "checkpointing": True, "batch": 2, "accumulation": 8, "length": 64, "quantization": "nf4",
        "optim": "adamw_8bit", "dtype": "bfloat16", "options": {"r": 4},
    }  # fmt: skip
    new = build_spec(spec_values(spec, changes))
    assert new.gradient_checkpointing == "on"
    assert new.per_device_train_batch_size == 2
    assert new.max_length == 64
    assert new.tuner.library_options()["r"] == 4


def test_the_driver_tells_the_bytes_of_a_process(monkeypatch):
    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(hardware, "_output", lambda command: "12, 100\n34, 2000\n34, 48\n")
    assert hardware.process_memory(34) == 2048 * 1024**2
    assert hardware.process_memory(99) is None


@pytest.mark.slow
def test_a_probe_measures_the_longest_batch_and_leaves_nothing_else(studio, instructions, tiny_model):
    from studio.worker.probe import probe

    spec = tiny_spec("lora", instructions, tiny_model, per_device_train_batch_size=2)
    job, folder = job_of(studio, spec)
    before = sorted(path.name for path in folder.iterdir())
    record = probe(folder, spec, PlayedCard())
    assert record["job"] == job
    assert record["probed"] is True
    assert record["out_of_memory"] is False
    assert record["setup"]["batch"] == 2
    assert 0 < record["setup"]["length"] <= 96
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_probe_takes_the_row_of_most_tokens():
    from studio.worker.probe import longest

    pairs = [
        {"prompt_ids": [1], "chosen_ids": [1] * 5, "rejected_ids": [1]},
        {"prompt_ids": [1] * 3, "chosen_ids": [1] * 3, "rejected_ids": [1] * 3},
    ]
    assert longest(ROWS) is ROWS[1]
    assert longest(pairs) is pairs[1]


@pytest.mark.slow
def test_a_probe_without_a_card_is_a_sentence(studio, instructions, tiny_model, workspace):
    from studio.errors import UserError
    from studio.jobs.probe import probe

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    job, _ = job_of(studio, tiny_spec("lora", instructions, tiny_model))
    with pytest.raises(UserError, match="no CUDA card"):
        probe(workspace, job)
    with pytest.raises(UserError, match="no job"):
        probe(workspace, "no-such-job")
