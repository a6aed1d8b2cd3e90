"""A killed job goes on as if nothing had happened; a damaged checkpoint is named and an older one used."""

import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import pytest

from studio import workspace as names
from studio.jobs.events import Checkpoint, Finished, Metrics, Started, Stopped, Warned, read_events
from studio.jobs.launchers import local
from studio.jobs.state import JobState
from studio.worker import checkpoints
from studio.worker.stop import StopSwitch
from tests.worker.conftest import learned_bytes, of_kind, train_in, values_of, wait_for_end, wait_until

pytestmark = pytest.mark.slow
CANARY = "studio_canary"


@pytest.fixture(scope="module")
def whole(lab):
    """Six steps without a break, and all three checkpoints of them."""
    return lab.train(lab.spec("lora", max_steps=6, save_total_limit=3, learning_rate=0.01))


@pytest.fixture
def killed(lab, whole):
    """The same job as it was after a kill in step 5: checkpoints 2 and 4, no adapter."""
    folder = lab.copy(whole)
    shutil.rmtree(folder / names.ADAPTER)
    shutil.rmtree(folder / names.CHECKPOINTS / "checkpoint-6")
    lines = (folder / names.EVENTS).read_bytes().splitlines(keepends=True)
    last = next(n for n, line in enumerate(lines) if b"checkpoint-6" in line)
    (folder / names.EVENTS).write_bytes(b"".join(lines[:last]) + b'{"event": "metr')
    return folder


def newest(folder) -> Path:
    return folder / names.CHECKPOINTS / "checkpoint-4"


def resumed_from(folder):
    return of_kind(folder, Started)[-1].resumed_from


def charted(folder):
    """(step, loss) of every point of the chart."""
    state = JobState()
    for event in read_events(folder / names.EVENTS):
        state.add(event)
    return [(step, values["loss"]) for step, values in state.points if "loss" in values]


def test_a_worker_killed_by_the_system_goes_on_bit_for_bit(lab):
    spec = lab.spec("lora", max_steps=10, save_total_limit=5, learning_rate=0.01, eval_share=0.0)
    undisturbed, victim = lab.folder(spec), lab.folder(spec)
    first = local.launch("studio.worker", undisturbed)
    process = local.launch("studio.worker", victim)
    wait_until(process, victim, lambda event: isinstance(event, Checkpoint) and event.step == 4)
    os.kill(process.pid, signal.SIGKILL)
    killed = wait_for_end(process, victim)
    assert killed.code == -signal.SIGKILL
    assert not isinstance(killed.last, Finished)
    assert not (victim / names.ADAPTER).exists()

    again = wait_for_end(local.launch("studio.worker", victim), victim)
    assert wait_for_end(first, undisturbed).code == again.code == 0
    assert isinstance(again.last, Finished)
    assert resumed_from(victim) >= 4
    assert not of_kind(victim, Warned)
    assert learned_bytes(victim) == learned_bytes(undisturbed)
    assert charted(victim) == charted(undisturbed)
    assert [step for step, _ in charted(victim)] == list(range(1, 11))


def test_what_was_left_by_a_kill_goes_on_from_the_newest_checkpoint(whole, killed):
    train_in(killed)
    assert resumed_from(killed) == 4
    assert of_kind(killed, Warned) == []
    assert learned_bytes(killed) == learned_bytes(whole)
    assert charted(killed) == charted(whole)


@pytest.mark.parametrize("preset", ["full", "dpo"])
def test_every_kind_of_job_goes_on_bit_for_bit(lab, preset):
    folder = lab.train(lab.spec(preset, max_steps=4, learning_rate=1e-3))
    [result] = [folder / name for name in (names.ADAPTER, names.MODEL) if (folder / name).is_dir()]
    weights = next(result.glob("*.safetensors"))
    before, losses = weights.read_bytes(), values_of(folder, "loss")
    shutil.rmtree(result)
    shutil.rmtree(folder / names.CHECKPOINTS / "checkpoint-4")
    train_in(folder)
    assert resumed_from(folder) == 2
    assert weights.read_bytes() == before
    assert values_of(folder, "loss")[-2:] == losses[-2:]


class PressedAt(StopSwitch):
    """A stop that comes while a step is being computed."""

    def __init__(self, folder, step):
        super().__init__()
        self.folder, self.step = folder, step

    @property
    def pressed(self):
        return any(event.step >= self.step - 1 for event in of_kind(self.folder, Metrics))

    @pressed.setter
    def pressed(self, value):
        assert value is False


def test_a_stop_saves_what_was_learned_and_resume_goes_on_bit_for_bit(lab, whole):
    folder = lab.folder(lab.spec("lora", max_steps=6, save_total_limit=3, learning_rate=0.01))
    train_in(folder, PressedAt(folder, 3))
    assert read_events(folder / names.EVENTS)[-1].model_dump(exclude={"time"}) == {
        "event": "stopped", "step": 3, "result": "adapter"
    }  # fmt: skip
    checkpoints.verify(folder / names.ADAPTER)
    assert learned_bytes(folder) != learned_bytes(whole)
    train_in(folder)
    assert resumed_from(folder) == 3
    assert learned_bytes(folder) == learned_bytes(whole)
    assert charted(folder) == charted(whole)


def test_a_stop_in_the_last_step_is_an_end(lab):
    folder = lab.folder(lab.spec("lora", max_steps=2))
    train_in(folder, PressedAt(folder, 2))
    assert isinstance(read_events(folder / names.EVENTS)[-1], Finished)
    assert of_kind(folder, Stopped) == []


def truncate(checkpoint):
    file = checkpoint / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(checkpoint):
    file = checkpoint / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def empty(checkpoint):
    (checkpoint / "trainer_state.json").write_bytes(b"")


def lose_the_optimizer(checkpoint):
    (checkpoint / "optimizer.pt").unlink()


def lose_the_manifest(checkpoint):
    (checkpoint / names.MANIFEST).unlink()


def tear_the_manifest(checkpoint):
    file = checkpoint / names.MANIFEST
    file.write_bytes(file.read_bytes()[:50])


DAMAGE = {
    truncate: "checkpoint-4/adapter_model.safetensors is damaged",
    flip_a_bit: "checkpoint-4/adapter_model.safetensors is damaged",
    empty: "checkpoint-4/trainer_state.json is damaged",
    lose_the_optimizer: "checkpoint-4 lacks the file optimizer.pt",
    lose_the_manifest: "checkpoint-4 is not complete",
    tear_the_manifest: "checkpoint-4 is not complete",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(whole, killed, damage):
    damage(newest(killed))
    train_in(killed)
    [warning] = of_kind(killed, Warned)
    assert DAMAGE[damage] in warning.message
    assert "An older checkpoint is used." in warning.message
    assert resumed_from(killed) == 2
    assert learned_bytes(killed) == learned_bytes(whole)
    assert charted(killed) == charted(whole)


def test_a_checkpoint_half_written_by_a_kill_is_not_one(whole, killed):
    ruin = killed / names.CHECKPOINTS / ".staging-checkpoint-6" / "checkpoint-6"
    ruin.mkdir(parents=True)
    (ruin / "adapter_model.safetensors").write_bytes(b"half")
    train_in(killed)
    assert resumed_from(killed) == 4
    assert learned_bytes(killed) == learned_bytes(whole)
    assert not list((killed / names.CHECKPOINTS).glob(".staging*"))


def test_without_a_whole_checkpoint_training_begins_again(whole, killed):
    for step in (2, 4):
        lose_the_manifest(killed / names.CHECKPOINTS / f"checkpoint-{step}")
    train_in(killed)
    assert resumed_from(killed) == 0
    assert [event.message.split()[0] for event in of_kind(killed, Warned)] == ["checkpoint-4", "checkpoint-2"]
    assert learned_bytes(killed) == learned_bytes(whole)
    assert charted(killed) == charted(whole)


class Canary:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt"])
def test_a_foreign_pickle_is_refused_before_it_is_read(whole, killed, tmp_path, name):
    (newest(killed) / name).write_bytes(pickle.dumps(Canary(tmp_path / CANARY), protocol=2))
    train_in(killed)
    [warning] = of_kind(killed, Warned)
    assert f"checkpoint-4/{name} is damaged" in warning.message
    assert not (tmp_path / CANARY).exists()
    assert learned_bytes(killed) == learned_bytes(whole)


@pytest.mark.parametrize("name", ["training_args.bin", "adapter_model.bin", "pytorch_model.bin", "rng_state_0.pth"])
def test_a_foreign_file_beside_the_known_ones_is_refused_before_it_is_read(whole, killed, tmp_path, name):
    (newest(killed) / name).write_bytes(pickle.dumps(Canary(tmp_path / CANARY), protocol=2))
    train_in(killed)
    [warning] = of_kind(killed, Warned)
    assert f"checkpoint-4/{name} is not one of the files that were saved." in warning.message
    assert resumed_from(killed) == 2
    assert not (tmp_path / CANARY).exists()
    assert learned_bytes(killed) == learned_bytes(whole)


def test_hidden_files_of_a_file_manager_do_no_harm(whole, killed):
    (newest(killed) / ".DS_Store").write_bytes(b"icons")
    train_in(killed)
    assert resumed_from(killed) == 4
    assert learned_bytes(killed) == learned_bytes(whole)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt"])
def test_a_foreign_pickle_is_not_executed_even_with_a_manifest_of_its_own(killed, tmp_path, name):
    (newest(killed) / name).write_bytes(pickle.dumps(Canary(tmp_path / CANARY), protocol=2))
    checkpoints.write_manifest(newest(killed))
    checkpoints.verify(newest(killed))
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        train_in(killed)
    assert not (tmp_path / CANARY).exists()


def test_the_canary_would_sing(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / CANARY), protocol=2))
    assert (tmp_path / CANARY).is_dir()


def test_a_manifest_names_every_file(whole):
    checkpoint = whole / names.CHECKPOINTS / "checkpoint-6"
    listed = set(json.loads((checkpoint / names.MANIFEST).read_text())["files"])
    assert listed == {path.name for path in checkpoint.iterdir()} - {names.MANIFEST}
