"""The queue with a fake worker: order, stop, death of the studio, death of the worker, strangers' pids."""

import os
import signal
import time
from pathlib import Path

import pytest

from studio.errors import UserError
from studio.jobs.launchers import local
from studio.jobs.servers import ServerPool
from studio.jobs.supervisor import Supervisor
from studio.workspace import WORKER_RECORD, read_json, write_json
from tests.conftest import tiny_spec


@pytest.fixture
def new_supervisor(studio):
    """Makes supervisors that start fake workers; kills what is left at the end."""

    def make():
        return Supervisor(
            studio.workspace,
            studio.catalog,
            studio.store,
            ServerPool(studio.workspace),
            worker="tests.jobs.fake_worker",
        )

    yield make
    for job_id in studio.store.ids():
        record = local.read_record(studio.workspace.job(job_id))
        if record:
            local.kill(record)


@pytest.fixture
def job(studio, instructions, tiny_model):
    """Puts a job into the line; the seed tells the fake worker what to do."""

    def start(seed=1):
        return studio.start_job(tiny_spec("lora", instructions, tiny_model, seed=seed))

    return start


def wait_for(supervisor, studio, job_id, *statuses, seconds=20.0):
    """Look until the job has one of these states."""
    end = time.monotonic() + seconds
    while (status := studio.store.view(job_id).status) not in statuses:
        assert time.monotonic() < end, f"{job_id} is {status}, not {statuses}"
        supervisor.look()
        time.sleep(0.05)
    supervisor.look()
    return studio.store.view(job_id)


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_runs_and_the_rest_wait_in_line(studio, new_supervisor, job):
    first, second = job(), job(4)
    supervisor = new_supervisor()
    wait_for(supervisor, studio, first, "running")
    assert studio.store.view(second).status == "queued"
    view = wait_for(supervisor, studio, first, "completed")
    assert [step for step, _ in view.state.points] == list(range(1, 41))
    wait_for(supervisor, studio, second, "completed")
    assert studio.catalog.waiting() == []


def test_stop_asks_the_worker_and_it_says_where_it_stopped(studio, new_supervisor, job):
    job_id = job()
    supervisor = new_supervisor()
    wait_for(supervisor, studio, job_id, "running")
    studio.store.request_stop(job_id)
    view = wait_for(supervisor, studio, job_id, "stopped")
    assert 0 < view.state.step < 40
    wait_until(lambda: supervisor.look() or studio.catalog.stop_requests() == {})
    with pytest.raises(UserError, match="not running"):
        studio.store.request_stop(job_id)


def test_a_waiting_job_leaves_the_line(studio, new_supervisor, job):
    job_id = job()
    studio.store.request_stop(job_id)
    new_supervisor().look()
    assert studio.store.view(job_id).status == "stopped"
    assert studio.catalog.waiting() == []


def test_a_worker_that_will_not_stop_is_ended(studio, new_supervisor, job, monkeypatch):
    job_id = job(5)
    supervisor = new_supervisor()
    wait_for(supervisor, studio, job_id, "running")
    monkeypatch.setattr("studio.jobs.supervisor.GRACE", -1.0)
    studio.store.request_stop(job_id)
    wait_for(supervisor, studio, job_id, "interrupted")


def test_the_death_of_the_studio_does_not_touch_the_job(studio, new_supervisor, job):
    job_id = job()
    wait_for(new_supervisor(), studio, job_id, "running")  # this supervisor is forgotten, as by kill -9
    pid = read_json(studio.workspace.job(job_id) / WORKER_RECORD)["pid"]
    later = new_supervisor()
    view = studio.store.view(job_id)
    assert view.status == "running"
    assert read_json(studio.workspace.job(job_id) / WORKER_RECORD)["pid"] == pid
    view = wait_for(later, studio, job_id, "completed")
    assert [step for step, _ in view.state.points] == list(range(1, 41))


def test_a_job_started_twice_by_a_crash_runs_once(studio, new_supervisor, job):
    job_id = job()
    supervisor = new_supervisor()
    wait_for(supervisor, studio, job_id, "running")
    studio.catalog.enqueue(job_id)  # as if the studio was killed before it took the job out of the line
    later = new_supervisor()
    assert studio.catalog.waiting() == []
    wait_for(later, studio, job_id, "completed")


def test_the_death_of_the_worker_is_seen_and_can_be_resumed(studio, new_supervisor, job):
    job_id = job()
    supervisor = new_supervisor()
    wait_for(supervisor, studio, job_id, "running")
    os.kill(read_json(studio.workspace.job(job_id) / WORKER_RECORD)["pid"], signal.SIGKILL)
    view = wait_for(supervisor, studio, job_id, "interrupted", seconds=15)
    assert "died after step" in view.message
    studio.store.resume(job_id)
    assert studio.store.view(job_id).status == "queued"
    wait_for(supervisor, studio, job_id, "completed")


def test_a_failure_keeps_its_words(studio, new_supervisor, job):
    job_id = job(2)
    view = wait_for(new_supervisor(), studio, job_id, "failed")
    assert view.message == "The disk is full. Free some."
    with pytest.raises(UserError, match="completed|queued|failed"):
        studio.store.resume(job())


def test_a_worker_that_ends_without_a_word_has_failed_with_its_last_lines(studio, new_supervisor, job):
    view = wait_for(new_supervisor(), studio, job(3), "failed")
    assert "code 7" in view.message
    assert "libfoo.so" in view.message


def test_a_worker_that_lingers_after_its_last_word_is_done_and_helped_out(studio, new_supervisor, job, monkeypatch):
    lingering, following = job(6), job(4)
    supervisor = new_supervisor()
    view = wait_for(supervisor, studio, lingering, "completed")
    record = local.read_record(studio.workspace.job(lingering))
    assert local.is_alive(record)
    assert studio.store.view(following).status == "queued"  # the first one still holds the memory
    monkeypatch.setattr("studio.jobs.supervisor.EXIT_GRACE", 0.0)
    wait_for(supervisor, studio, following, "completed")
    assert not local.is_alive(record)
    assert view.status == "completed"


def test_a_strangers_pid_is_never_signalled(studio, new_supervisor, job):
    job_id = job()
    folder = studio.workspace.job(job_id)
    studio.catalog.dequeue(job_id)
    write_json(folder / WORKER_RECORD, {"pid": os.getpid(), "create_time": 1.0})
    record = local.read_record(folder)
    assert not local.is_alive(record)
    local.terminate(record)
    local.kill(record)
    assert studio.store.view(job_id).status == "interrupted"


def test_a_damaged_job_hides_no_other(studio, job):
    good, bad = job(), job()
    (studio.workspace.job(bad) / "spec.yaml").write_text("nonsense: 1")
    studio.store._known.clear()
    assert [view.id for view in studio.store.views()] == [good]
    assert bad in studio.store.unreadable
    studio.store.delete(bad)
    assert studio.store.ids() == [good]


def test_a_running_job_cannot_be_deleted(studio, new_supervisor, job):
    job_id = job()
    supervisor = new_supervisor()
    wait_for(supervisor, studio, job_id, "running")
    with pytest.raises(UserError, match="Stop it first"):
        studio.store.delete(job_id)
    wait_for(supervisor, studio, job_id, "completed")
    studio.store.delete(job_id)
    assert studio.store.ids() == []


def test_the_worker_has_its_own_session_and_no_secrets(studio, new_supervisor, job, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canary_value_000000000000")
    job_id = job()
    supervisor = new_supervisor()
    wait_for(supervisor, studio, job_id, "running")
    pid = read_json(studio.workspace.job(job_id) / WORKER_RECORD)["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    if os.path.exists(f"/proc/{pid}/environ"):
        assert b"hf_canary" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    wait_for(supervisor, studio, job_id, "completed")


def test_the_thread_keeps_the_queue_and_says_so(studio, new_supervisor, job):
    supervisor = new_supervisor()
    supervisor.start()
    job_id = job(4)
    end = time.monotonic() + 20
    while studio.store.view(job_id).status != "completed":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert supervisor.is_alive
    supervisor.stop()
    assert not supervisor.is_alive


def test_the_log_is_read_in_parts(studio, job):
    job_id = job()
    log = studio.workspace.job(job_id) / "log.txt"
    assert studio.store.log_tail(job_id, -1) == ("", 0)
    log.write_bytes(b"a" * 10 + b"\xff\n")
    text, end = studio.store.log_tail(job_id, -1, limit=4)
    assert (text, end) == ("aa\ufffd\n", 12)
    with log.open("ab") as file:
        file.write(b"more")
    assert studio.store.log_tail(job_id, end) == ("more", 16)
    assert studio.store.log_tail(job_id, 10**9)[0].endswith("more")
