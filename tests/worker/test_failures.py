"""What goes wrong in training stops it with a sentence, and leaves what was good before."""

import errno
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from studio import workspace as names
from studio.adapters import manifest
from studio.errors import UserError
from studio.jobs.events import Finished, Metrics
from studio.worker import checkpoints, failures
from studio.worker import train as train_module
from tests.worker.conftest import of_kind, train_in, tree_hash

WEIGHT = "model.layers.0.self_attn.q_proj.weight"


class Sabotage(TrainerCallback):
    """Does something to the trainer's model in the middle of a step, before the optimizer or after it."""

    def __init__(self, step, *, gradient=None, weight=None):
        self.step, self.gradient, self.weight, self.trainer = step, gradient, weight, None

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step and self.gradient is not None:
            value = self.gradient
            self.trainable().register_hook(lambda gradient: torch.full_like(gradient, value))

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and self.weight is not None:
            self.trainable().data[0, 0] = self.weight

    def trainable(self):
        return next(weight for weight in self.trainer.model.parameters() if weight.requires_grad)


@pytest.fixture
def sabotaged(lab, monkeypatch):
    """Runs a job with a saboteur; the folder, and the UserError that ended it."""

    def run(saboteur, **changes):
        build_trainer = train_module.build_trainer

        def build(*args):
            saboteur.trainer = build_trainer(*args)
            saboteur.trainer.add_callback(saboteur)
            return saboteur.trainer

        monkeypatch.setattr(train_module, "build_trainer", build)
        folder = lab.folder(lab.spec("lora", max_steps=6, **changes))
        with pytest.raises(UserError) as caught:
            train_in(folder)
        return folder, caught.value

    return run


def steps_told(folder):
    return [event.step for event in of_kind(folder, Metrics) if "loss" in event.values]


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_weight_in_the_base_stops_the_first_step(lab, tmp_path, value):
    base = shutil.copytree(lab.model, tmp_path / "broken")
    weights = load_file(base / "model.safetensors")
    weights[WEIGHT][0, 0] = value
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    folder = lab.folder(lab.spec("lora", model=base))
    with pytest.raises(UserError, match=r"diverged: the loss became nan at step 1\.") as caught:
        train_in(folder)
    assert "Lower the learning rate" in caught.value.hint
    assert steps_told(folder) == []
    assert not (folder / names.ADAPTER).exists()


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(sabotaged, value):
    saboteur = Sabotage(4, gradient=value)
    folder, error = sabotaged(saboteur)
    assert f"the gradient became {value} at step 4." in error.message
    assert steps_told(folder) == [1, 2, 3]
    assert all(weight.isfinite().all() for weight in saboteur.trainer.model.parameters())
    newest, complaints = checkpoints.newest_verified(folder / names.CHECKPOINTS)
    assert (newest.name, complaints) == ("checkpoint-2", [])
    assert not (folder / names.ADAPTER).exists()


@pytest.mark.slow
def test_a_weight_that_is_not_finite_is_never_saved(sabotaged):
    folder, error = sabotaged(Sabotage(4, weight=math.nan))  # a checkpoint is due at the end of this very step
    assert "the weight " in error.message
    assert "lora_A" in error.message
    assert [path.name for path in (folder / names.CHECKPOINTS).glob("*checkpoint*")] == ["checkpoint-2"]
    assert not (folder / names.ADAPTER).exists()


@pytest.mark.slow
def test_a_weight_that_breaks_at_the_last_step_gives_no_adapter(sabotaged):
    folder, _ = sabotaged(Sabotage(6, weight=math.inf), save_steps=1000)
    assert not (folder / names.ADAPTER).exists()
    assert of_kind(folder, Finished) == []


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint(lab, monkeypatch):
    folder = lab.folder(lab.spec("lora", max_steps=6))
    write_manifest = checkpoints.write_manifest

    def fill_up(staging):
        if "checkpoint-4" in staging.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_manifest(staging)

    monkeypatch.setattr(manifest, "write_manifest", fill_up)
    with pytest.raises(OSError, match="No space") as caught:
        train_in(folder)
    assert sorted(path.name for path in (folder / names.CHECKPOINTS).iterdir()) == ["README.md", "checkpoint-2"]
    checkpoints.verify(folder / names.CHECKPOINTS / "checkpoint-2")
    told = failures.explain(caught.value, folder)
    assert "The disk is full" in told.message
    assert "Resume" in told.hint


def test_a_disk_that_fills_while_writing_leaves_what_was_there(tmp_path):
    folder = tmp_path / "adapter"
    checkpoints.write_complete(folder, lambda staging: (staging / "weights").write_bytes(b"old"))
    before = tree_hash(tmp_path)

    def fill(staging):
        (staging / "weights").write_bytes(b"new, but only a pa")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.write_complete(folder, fill)
    assert tree_hash(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    checkpoints.verify(folder)


@pytest.mark.parametrize("call", ["fsync", "write_json"])
def test_a_disk_that_fills_at_the_end_leaves_what_was_there(tmp_path, monkeypatch, call):
    folder = tmp_path / "adapter"
    checkpoints.write_complete(folder, lambda staging: (staging / "weights").write_bytes(b"old"))
    before = tree_hash(tmp_path)

    def fail(*args):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(manifest.os if call == "fsync" else manifest, call, fail)
    with pytest.raises(OSError, match="quota"):
        checkpoints.write_complete(folder, lambda staging: (staging / "weights").write_bytes(b"new"))
    monkeypatch.undo()
    assert tree_hash(tmp_path) == before
    checkpoints.verify(folder)


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "adapter"
    checkpoints.write_complete(folder, lambda staging: (staging / "old").write_bytes(b"old"))
    size = checkpoints.write_complete(folder, lambda staging: (staging / "new").write_bytes(b"newer"))
    assert sorted(path.name for path in folder.iterdir()) == [names.MANIFEST, "new"]
    assert size == 5
    checkpoints.verify(folder)


def test_only_the_newest_checkpoints_stay(tmp_path):
    for step in (5, 10, 100, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-notes").mkdir()
    checkpoints.rotate(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-20", "checkpoint-notes"]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "graphics card"),
        (RuntimeError("CUDA error: out of memory"), "graphics card"),
        (MemoryError(), "machine ran out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), "machine ran"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes."), "machine ran"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk is full"),
    ],
)
def test_what_libraries_raise_becomes_a_sentence_with_advice(tmp_path, error, word):
    told = failures.explain(error, tmp_path)
    assert word in told.message
    assert told.hint


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EACCES, "denied"), RuntimeError("size mismatch")])
def test_a_bug_is_not_explained_away(tmp_path, error):
    assert failures.explain(error, tmp_path) is None


def test_a_users_error_keeps_its_own_words(tmp_path):
    error = UserError("The lamp is out.", "Light it.")
    assert failures.explain(error, tmp_path) is error
