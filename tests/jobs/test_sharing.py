"""Chats and training in one memory: who is kept, who goes, who waits and what is said; with fake workers and memory."""

import socket
import time
from dataclasses import replace

import pytest

from studio import hardware
from studio import workspace as names
from studio.errors import UserError
from studio.hardware import Gpu
from studio.jobs import admission, servers, sharing
from studio.jobs.launchers import local
from studio.jobs.presets import read_presets
from studio.jobs.servers import ServerPool
from studio.jobs.sharing import Chat, Ledger, Plan, Space, chat_needs, job_needs, plan
from studio.jobs.spec import ServeSpec, build_spec
from studio.jobs.supervisor import Supervisor
from studio.memory.estimate import GIB
from studio.workspace import read_json
from tests.conftest import tiny_spec

PATIENCE = 20.0
NO_DATA = {"id": "none-00000000", "sha256": ""}
A, B, C = "org/model-a", "org/model-b", "org/model-c"


def idle(name, held=10, seconds=1000.0):
    return Chat(base_model=name, held=held, answering=False, idle=seconds)


def busy(name, held=10):
    return Chat(base_model=name, held=held, answering=True, idle=0.0)


@pytest.mark.parametrize(
    ("need", "free", "chats", "wanted"),
    [
        (5, 5, [idle("a")], Plan()),  # both fit
        (5, 0, [], Plan()),  # nobody to share with: its own failure says the rest
        (12, 5, [idle("a"), idle("b")], Plan(unload=("a",))),  # no more than needed, the oldest first
        (20, 5, [idle("a"), idle("b")], Plan(unload=("a", "b"))),
        (12, 5, [busy("a"), idle("b")], Plan(unload=("b",))),  # nobody is cut off where another one will do
        (20, 5, [busy("a"), idle("b")], Plan(waits_for=("a",))),  # b goes when it helps, not before
        (99, 5, [idle("a")], Plan(unload=("a",))),  # too large at any rate: it gets all that there is
        (12, 5, [idle("a", seconds=3.0)], Plan(waits_for=("a",))),  # somebody reads an answer
    ],
)
def test_the_plan(need, free, chats, wanted):
    assert plan(need, free, chats) == wanted


class Machine:
    """The memory of the fake: every chat holds 10, a running job 10, in a room of `total`."""

    def __init__(self, studio, pool):
        self.studio, self.pool, self.total, self.job = studio, pool, 100, 10

    def alive(self, folders):
        records = [local.read_record(folder) for folder in folders]
        return sum(10 for record in records if record is not None and local.is_alive(record))

    def look_around(self):
        workspace = self.studio.workspace
        used = self.alive(workspace.servers.iterdir()) + self.alive(workspace.jobs.iterdir())
        return Space(free=self.total - used)


@pytest.fixture
def pool(studio):
    made = ServerPool(studio.workspace, worker="tests.jobs.fake_server")
    yield made
    for folder in (*studio.workspace.servers.iterdir(), *studio.workspace.jobs.iterdir()):
        record = local.read_record(folder)
        if record:
            local.kill(record)


@pytest.fixture
def machine(studio, pool, monkeypatch):
    fake = Machine(studio, pool)
    monkeypatch.setattr(sharing, "look_around", fake.look_around)
    monkeypatch.setattr(sharing, "held", lambda record, space: 10)
    monkeypatch.setattr(sharing, "chat_needs", lambda spec, workspace, space: 10)
    monkeypatch.setattr(sharing, "job_needs", lambda spec, workspace, space: fake.job)
    monkeypatch.setattr(servers, "ASKING", 0.0)
    monkeypatch.setattr(admission, "LOOK_EVERY", 0.0)
    return fake


@pytest.fixture
def supervisor(studio, pool, machine):
    return Supervisor(studio.workspace, studio.catalog, studio.store, pool, worker="tests.jobs.fake_worker")


@pytest.fixture
def job(studio):
    """Puts a job into the line; its data set is nobody's business here."""

    def start(seed=4):
        values, base = read_presets()["lora"].values(NO_DATA), {"base_model": str(studio.workspace.models)}
        job_id = studio.store.create(build_spec({**values, **base, "name": "keeper", "seed": seed}))
        studio.catalog.enqueue(job_id)
        return job_id

    return start


def until(look, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        look()
        time.sleep(0.02)
    return found


def load(pool, base):
    """Ask for a base model until its server answers, as a chat does."""
    return until(pool.tend, lambda: pool.want(base))


def visit(endpoint):
    """A connection with a server: an answer in progress."""
    host, _, port = endpoint.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)))


def is_open(connection):
    connection.settimeout(0.05)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True


def forget(pool, *bases):
    """As if nobody had wanted these for an hour."""
    for base in bases:
        pool._used[base] = time.monotonic() - 3600


def test_both_are_kept_when_they_fit(studio, pool, machine, supervisor, job):
    load(pool, A)
    job_id = job()
    until(supervisor.look, lambda: studio.store.view(job_id).status == "completed")
    assert pool.running() == [A]
    assert studio.store.view(job_id).state.warnings == []


def told(pool, base):
    """The bytes that a chat was told to leave to others."""
    return (read_json(pool._servers[base].folder / names.PROMISED) or {"bytes": 0})["bytes"]


def test_a_chat_is_told_what_it_must_leave_to_a_job_as_it_starts_and_while_it_grows(
    studio, pool, machine, supervisor, job, monkeypatch
):
    monkeypatch.setattr(servers, "STEP", 1)
    monkeypatch.setattr(servers, "WATCH_EVERY", 0.0)
    load(pool, A)
    machine.job = 40
    pool.promise(40)
    assert told(pool, A) == 40  # before the job has begun
    held = [0]
    monkeypatch.setattr(sharing, "held", lambda record, space: held[-1])
    job_id = job(seed=5)
    for taken, rest in ((0, 40), (10, 30), (45, 0)):
        held.append(taken)
        until(supervisor.look, lambda rest=rest: told(pool, A) == rest)
    until(supervisor.look, lambda: studio.store.view(job_id).status == "running")


def test_a_chat_that_is_loaded_has_room_for_an_answer_promised(studio, pool, machine, monkeypatch):
    load(pool, A)
    monkeypatch.setattr(sharing, "chat_needs", lambda spec, workspace, space: 14)
    space = machine.look_around()
    ledger = Ledger(studio.workspace)
    assert ledger.free(space, ledger.workers(space)) == 86  # of 100 it holds 10 and may take 4
    monkeypatch.setattr(sharing, "held", lambda record, space: None)  # a driver that does not tell
    assert ledger.free(space, ledger.workers(space)) == 90  # what it has is missing from what is free


def test_an_idle_chat_makes_room_and_the_job_says_so(studio, pool, machine, supervisor, job):
    load(pool, A)
    load(pool, B)
    forget(pool, A, B)
    pool.want(B)
    forget(pool, A)
    machine.total, machine.job = 25, 12
    job_id = job()
    until(supervisor.look, lambda: studio.store.view(job_id).status == "completed")
    assert pool.running() == [B]
    [warning] = studio.store.view(job_id).state.warnings
    assert warning.startswith(f"{A} was unloaded")


def test_a_job_waits_for_who_is_chatting_until_it_is_told_not_to(studio, pool, machine, supervisor, job):
    connection = visit(load(pool, A))
    forget(pool, A)
    machine.total, machine.job = 15, 12
    job_id = job()
    for _ in range(3):
        supervisor.look()
    view = studio.store.view(job_id)
    assert (view.status, view.held) == ("queued", True)
    assert view.message.startswith(f"waiting for {A}: somebody is chatting")
    assert len((studio.workspace.job(job_id) / "events.jsonl").read_text().splitlines()) == 1  # said once
    assert is_open(connection)
    pool.want(B)  # somebody else may not take what the job waits for
    pool.tend()
    with pytest.raises(UserError, match="beside the job keeper"):
        pool.want(B)
    studio.store.make_room(job_id)
    until(supervisor.look, lambda: studio.store.view(job_id).status == "completed")
    assert not is_open(connection)
    assert studio.catalog.room_requests() == set()
    with pytest.raises(UserError, match="does not wait"):
        studio.store.make_room(job_id)


def test_a_job_that_waited_starts_by_itself_when_the_chat_is_idle(studio, pool, machine, supervisor, job, monkeypatch):
    load(pool, A)
    machine.total, machine.job = 15, 12
    job_id = job()
    supervisor.look()
    assert studio.store.view(job_id).held
    forget(pool, A)
    until(supervisor.look, lambda: studio.store.view(job_id).status == "completed")
    assert load(pool, A)  # what was kept free for the job is free again


def test_a_chat_that_does_not_fit_beside_a_job_is_refused_with_what_to_do(studio, pool, machine, supervisor, job):
    job_id = job(5)  # lingers at its end
    until(supervisor.look, lambda: studio.store.view(job_id).status == "running")
    machine.total = 15
    pool.want(A)
    pool.tend()
    with pytest.raises(UserError, match="beside the job keeper") as caught:
        pool.want(A)
    assert "stop it" in caught.value.hint
    assert pool.running() == []
    machine.total = 25
    assert load(pool, A)


def test_what_is_loading_is_counted_as_loaded(studio, pool, machine, supervisor, job, monkeypatch):
    job_id = job(5)
    until(supervisor.look, lambda: studio.store.view(job_id).status == "running")
    monkeypatch.setattr(sharing, "held", lambda record, space: 1)  # the job has only begun to fill its memory
    machine.total = 25
    pool.want(A)
    pool.tend()
    with pytest.raises(UserError, match="beside the job keeper"):
        pool.want(A)


def test_of_two_models_the_idle_one_makes_room_for_a_third(pool, machine):
    connection = visit(load(pool, A))
    load(pool, B)
    forget(pool, A, B)
    assert load(pool, C)
    assert sorted(pool.running()) == [A, C]
    assert is_open(connection)


def test_who_is_answering_is_never_cut_off_and_the_newcomer_hears_why_it_waits(pool, machine, monkeypatch):
    connections = [visit(load(pool, A)), visit(load(pool, B))]
    forget(pool, A, B)
    assert pool.want(C) is None
    pool.tend()
    assert A in pool.why(C)
    assert B in pool.why(C)
    assert all(is_open(one) for one in connections)
    connections[1].close()
    forget(pool, B)
    assert load(pool, C)
    assert sorted(pool.running()) == [A, C]
    assert pool.why(C) == ""
    assert is_open(connections[0])


def test_a_newcomer_is_told_to_come_back_and_one_who_left_is_not_loaded(pool, machine, monkeypatch):
    connections = [visit(load(pool, A)), visit(load(pool, B))]
    pool.want(C)
    pool.tend()
    monkeypatch.setattr(servers, "MOST_WAIT", -1.0)
    with pytest.raises(UserError, match="are answering now"):
        pool.want(C)
    for connection in connections:
        connection.close()
    pool.tend()
    assert sorted(pool.running()) == [A, B]


def test_a_server_that_does_not_end_is_killed(pool, machine, monkeypatch):
    load(pool, "org/deaf")
    pool.end("org/deaf")
    assert pool.is_ending
    monkeypatch.setattr(servers, "END_GRACE", 0.0)
    until(pool.tend, lambda: not pool.is_ending)


def test_a_damaged_job_in_line_does_not_stop_the_line(studio, supervisor, job):
    bad, good = job(), job()
    (studio.workspace.job(bad) / "spec.yaml").write_text("nonsense: 1")
    studio.store._known.clear()
    until(supervisor.look, lambda: studio.store.view(good).status == "completed")
    assert studio.catalog.waiting() == []


def test_needs_follow_the_model_and_the_place(workspace, tiny_model, monkeypatch):
    spec = tiny_spec("lora", NO_DATA, tiny_model)
    monkeypatch.setattr(hardware, "gpus", list)
    here = sharing.look_around()
    assert here.card is None
    assert 0.7 * GIB < chat_needs(ServeSpec(base_model=str(tiny_model)), workspace, here) < 0.72 * GIB
    longer = spec.model_copy(update={"max_length": 4096, "per_device_train_batch_size": 8})
    assert 0.7 * GIB < job_needs(spec, workspace, here) < job_needs(longer, workspace, here)
    card = Gpu(name="NVIDIA GeForce RTX 4090", total_bytes=24 * GIB, used_bytes=20 * GIB)
    monkeypatch.setattr(hardware, "gpus", lambda: [card])
    there = sharing.look_around()
    assert (there.free, there.name) == (4 * GIB, card.name)
    assert job_needs(spec, workspace, there) > 0.5 * GIB
    assert chat_needs(ServeSpec(base_model=str(tiny_model)), workspace, there) < 0.6 * GIB
    for unknown in ("org/not-here", str(tiny_model.parent)):
        assert chat_needs(ServeSpec(base_model=unknown), workspace, there) is None
        assert job_needs(spec.model_copy(update={"base_model": unknown}), workspace, there) is None
    assert replace(there, card=None).name == "this machine"
