"""The worker as the studio starts it: exit code, last event and log agree, whatever happens."""

import hashlib
import json
import signal
import time

import psutil
import pytest

from studio import workspace as names
from studio.data.dataset import EXAMPLES
from studio.jobs.events import (
    EVALUATING,
    TERMINAL,
    Failed,
    Finished,
    Metrics,
    Progress,
    Started,
    Stopped,
    read_events,
)
from studio.jobs.launchers import local
from studio.worker import checkpoints
from tests.conftest import import_rows, instruction_rows, write_rows
from tests.worker.conftest import run_worker, wait_for_end, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def own_data(lab, tmp_path):
    """A data set that a test may spoil."""
    return import_rows(lab.workspace, write_rows(tmp_path / "own.jsonl", instruction_rows(6)))


@pytest.fixture
def folder_with(lab):
    """A job folder with a spec of the preset LoRA and these changes."""
    return lambda **changes: lab.folder(lab.spec("lora", **changes))


def assert_told_once(ended):
    """The last event is an end, and the only one."""
    assert isinstance(ended.last, TERMINAL)
    assert sum(isinstance(event, TERMINAL) for event in ended.events) == 1


def test_a_finished_job_ends_with_code_0_and_says_so_in_events_and_log(folder_with):
    folder = folder_with(quantization="nf4")  # a library more that could make noise
    ended = run_worker(folder)
    assert ended.code == 0, ended.log
    assert_told_once(ended)
    assert isinstance(ended.last, Finished)
    phases = [event.phase for event in ended.events if isinstance(event, Progress) and event.phase != EVALUATING]
    assert phases == ["starting", "reading the data set", "loading the base model"]
    kinds = [type(event) for event in ended.events]
    assert kinds.index(Started) < kinds.index(Metrics)
    assert [event.time for event in ended.events] == sorted(event.time for event in ended.events)
    checkpoints.verify(folder / names.ADAPTER)
    written = [*(folder / names.ADAPTER).iterdir(), *(folder / names.CHECKPOINTS).rglob("*.*"), folder / names.EVENTS]
    assert not [path for path in written if path.stat().st_mode & 0o077]  # nobody else's business
    said = ended.log.splitlines()
    assert any("training begins: 3 steps, " in line for line in said)
    assert any("step 1  loss " in line for line in said)
    assert said[-1].endswith("the result is in adapter/")
    assert "Traceback" not in ended.log
    assert "Warning" not in ended.log


def test_a_bug_ends_with_code_1_and_an_id_that_the_log_knows(lab, own_data, folder_with):
    """An example of no known shape, its hash being right: the rooms before the worker promise that it cannot be."""
    examples = lab.workspace.dataset(own_data["id"]) / EXAMPLES
    examples.write_text('{"lamp": "lit"}\n')
    spoilt = {"id": own_data["id"], "sha256": hashlib.sha256(examples.read_bytes()).hexdigest()}
    folder = folder_with(dataset=spoilt)
    ended = run_worker(folder)
    assert ended.code == 1, ended.log
    assert_told_once(ended)
    assert ended.last.cause == "bug"
    assert ended.last.error_id
    assert ended.last.error_id in ended.last.message
    assert f"error id {ended.last.error_id}" in ended.log
    assert "Traceback" in ended.log
    assert str(folder) not in ended.last.message + ended.last.hint
    assert "KeyError" not in ended.last.message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("learning_rate: [1", "cannot be read"),
        ("kind: train\nlearning_rate: -1\n", "Learning rate"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
        (None, "cannot be read"),
        ("kind: serve\nbase_model: 3\n", "Base model"),
    ],
    ids=["broken", "wrong value", "python tag", "missing", "wrong server"],
)
def test_a_spec_that_cannot_be_read_ends_with_code_2(lab, folder_with, content, word):
    folder = folder_with()
    if content is None:
        (folder / names.SPEC).unlink()
    else:
        (folder / names.SPEC).write_text(content)
    ended = run_worker(folder)
    assert ended.code == 2, ended.log
    assert_told_once(ended)
    assert word in ended.last.message
    assert not list(folder.glob("adapter*"))


def test_a_stop_before_training_ends_at_once_and_leaves_nothing(folder_with):
    folder = folder_with(max_steps=1000)
    process = local.launch("studio.worker", folder)
    wait_until(process, folder, lambda event: isinstance(event, Progress))  # the libraries are still being imported
    process.send_signal(signal.SIGTERM)
    ended = wait_for_end(process, folder)
    assert ended.code == 0, ended.log
    assert_told_once(ended)
    assert (type(ended.last), ended.last.step, ended.last.result) == (Stopped, 0, "")
    assert not (folder / names.ADAPTER).exists()
    assert "Traceback" not in ended.log


def test_a_stop_while_the_model_is_loaded_ends_too(folder_with):
    folder = folder_with(max_steps=1000)
    process = local.launch("studio.worker", folder)
    wait_until(process, folder, lambda event: getattr(event, "phase", "") == "reading the data set")
    process.send_signal(signal.SIGTERM)
    ended = wait_for_end(process, folder)
    assert ended.code == 0, ended.log
    assert_told_once(ended)
    assert isinstance(ended.last, Stopped)
    assert ended.last.step <= 1


def test_a_stop_within_training_saves_the_adapter_and_says_where(folder_with):
    folder = folder_with(max_steps=100_000, save_steps=100_000, eval_share=0.0)
    process = local.launch("studio.worker", folder)
    wait_until(process, folder, lambda event: isinstance(event, Metrics) and event.step >= 2)
    process.send_signal(signal.SIGTERM)
    ended = wait_for_end(process, folder)
    assert ended.code == 0, ended.log
    assert_told_once(ended)
    assert isinstance(ended.last, Stopped)
    steps = [event.step for event in ended.events if isinstance(event, Metrics)]
    assert 2 <= ended.last.step == steps[-1] < 100_000
    assert ended.last.result == names.ADAPTER
    checkpoints.verify(folder / names.ADAPTER)
    checkpoints.verify(folder / names.CHECKPOINTS / f"checkpoint-{ended.last.step}")


def test_a_worker_shows_that_it_lives_and_ends_when_its_folder_is_gone(folder_with):
    folder = folder_with(max_steps=100_000, save_steps=100_000)
    process = local.launch("studio.worker", folder)
    wait_until(process, folder, lambda event: isinstance(event, Progress))
    (folder / names.HEARTBEAT).unlink()
    end = time.monotonic() + 60
    while not (folder / names.HEARTBEAT).exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert local.seconds_since_heartbeat(folder) < 60
    record = local.read_record(folder)
    local.kill(record)
    process.wait(20)
    assert not psutil.pid_exists(process.pid) or not local.is_alive(record)
    assert not any(isinstance(event, TERMINAL) for event in read_events(folder / names.EVENTS))


# These need no process of their own: the entry's function is called as the process would.


@pytest.fixture
def entry(monkeypatch):
    """studio.worker's main function; what it changes in its process is undone."""
    import os
    import sys

    from studio.worker import __main__ as worker

    monkeypatch.setitem(sys.modules, "bitsandbytes", sys.modules.get("bitsandbytes"))
    before, umask = signal.getsignal(signal.SIGTERM), os.umask(0o077)
    yield worker.main
    signal.signal(signal.SIGTERM, before)
    os.umask(umask)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"max_length": 8}, "Nothing would be learned"),
        ({"base_model": "/nowhere/model"}, "no folder /nowhere/model"),
        ({"base_model": "not a model"}, "neither a Hub id nor a folder"),
        ({"dataset": {"id": "../../etc", "sha256": "0"}}, "not the id of a data set"),
    ],
)
def test_what_the_user_can_fix_is_told_with_a_hint(entry, folder_with, changes, word):
    folder = folder_with(**changes)
    assert entry(folder) == 2
    last = read_events(folder / names.EVENTS)[-1]
    assert (type(last), last.cause) == (Failed, "user")
    assert word in last.message
    assert last.hint


def test_a_changed_data_set_ends_with_code_2_and_a_hint(entry, lab, own_data, folder_with, capfd):
    with (lab.workspace.dataset(own_data["id"]) / EXAMPLES).open("a") as file:
        file.write('{"prompt": [], "completion": []}\n')
    folder = folder_with(dataset=own_data)
    assert entry(folder) == 2
    last = read_events(folder / names.EVENTS)[-1]
    assert (last.cause, last.error_id) == ("user", "")
    assert own_data["id"] in last.message
    assert last.hint == "Upload the file again."
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_model_that_wants_to_run_its_own_code_is_refused(entry, lab, folder_with, tmp_path):
    import shutil

    base = shutil.copytree(lab.model, tmp_path / "coded")
    config = json.loads((base / "config.json").read_text())
    (base / "modeling_own.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own", "AutoConfig": "modeling_own.Own"}
    (base / "config.json").write_text(json.dumps(config))
    folder = folder_with(model=base)
    assert entry(folder) == 2
    assert "Python code of its own" in read_events(folder / names.EVENTS)[-1].message
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device")])
def test_what_the_machine_lacks_is_told_as_the_users_and_logged(entry, folder_with, monkeypatch, capsys, error):
    from studio.worker import train

    def fail(*args):
        raise error

    monkeypatch.setattr(train, "run", fail)
    folder = folder_with()
    assert entry(folder) == 2
    last = read_events(folder / names.EVENTS)[-1]
    assert (last.cause, bool(last.hint)) == ("user", True)
    assert "Traceback" in capsys.readouterr().err
