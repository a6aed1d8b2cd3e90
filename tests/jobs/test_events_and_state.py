"""What a worker says, read while it is written; what a job has come to, derived from it."""

import json

import pytest

from studio.jobs.events import (
    EVALUATING,
    Checkpoint,
    EventReader,
    EventWriter,
    Failed,
    Finished,
    Metrics,
    Progress,
    Started,
    Stopped,
    read_events,
)
from studio.jobs.state import JobState, status_of

STARTED = Started(
    max_steps=10, trainable_parameters=1, parameters=2, train_examples=3, eval_examples=1, device="cpu", dtype="float32"
)
FINISHED = Finished(step=10, seconds=1, result="adapter", result_bytes=1, peak_memory_bytes=1)


def folded(*events):
    state = JobState()
    for event in events:
        state.add(event)
    return state


def test_events_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "events.jsonl"
    written = [Progress(phase="x"), STARTED, Metrics(step=1, values={"loss": 1.5}), FINISHED]
    for event in written:
        EventWriter(path).write(event)
    found = read_events(path)
    assert [type(event) for event in found] == [type(event) for event in written]
    assert all(event.time > 1e9 for event in found)
    assert found[2].values == {"loss": 1.5}


def test_a_torn_line_waits_for_its_end(tmp_path):
    path = tmp_path / "events.jsonl"
    line = Metrics(step=1, values={"loss": 1.0}).model_dump_json().encode() + b"\n"
    path.write_bytes(line + line[:10])
    reader = EventReader(path)
    assert len(reader.read()) == 1
    with path.open("ab") as file:
        file.write(line[10:])
    assert len(reader.read()) == 1
    assert reader.damaged == 0


def test_a_line_that_a_kill_cut_off_spoils_no_other(tmp_path):
    path = tmp_path / "events.jsonl"
    EventWriter(path).write(Progress(phase="a"))
    with path.open("ab") as file:
        file.write(b'{"event":"metrics","st')
    EventWriter(path).write(FINISHED)
    reader = EventReader(path)
    assert [type(event) for event in reader.read()] == [Progress, Finished]
    assert reader.damaged == 1


@pytest.mark.parametrize("garbage", [b"\x00\x00\x00", b"[]", b'{"event":"nonsense"}', b'{"event":"metrics"}'])
def test_a_damaged_line_is_counted_and_left_out(tmp_path, garbage):
    path = tmp_path / "events.jsonl"
    path.write_bytes(garbage + b"\n" + FINISHED.model_dump_json().encode() + b"\n")
    reader = EventReader(path)
    assert len(reader.read()) == 1
    assert reader.damaged == 1


def test_points_progress_and_time_left():
    metrics = [Metrics(step=i, elapsed=2.0 * i, values={"loss": 5.0 - i}) for i in (1, 2, 3)]
    state = folded(STARTED, *metrics, Metrics(step=3, elapsed=7, values={"eval_loss": 2.5}))
    assert state.step == 3
    assert state.value("loss") == 2.0
    assert state.value("eval_loss") == 2.5
    assert state.seconds_left == pytest.approx(14)
    assert len(state.points) == 4


def test_an_evaluation_is_a_phase_until_its_figures_come():
    state = folded(STARTED, Progress(phase=EVALUATING))
    assert state.phase == EVALUATING
    state.add(Metrics(step=1, values={"eval_loss": 1.0}))
    assert state.phase == "training"


def test_after_a_resume_every_step_has_one_value_and_charts_are_drawn_anew():
    metrics = [Metrics(step=i, elapsed=i, values={"loss": float(i)}) for i in range(1, 8)]
    resumed = STARTED.model_copy(update={"resumed_from": 5})
    state = folded(STARTED, *metrics, resumed, *[Metrics(step=i, elapsed=i, values={"loss": -1.0}) for i in (6, 7, 8)])
    assert [step for step, _ in state.points] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert state.revision == 1
    assert state.value("loss") == -1.0


@pytest.mark.parametrize(
    ("events", "facts", "status"),
    [
        ([], {"waiting": True}, "queued"),
        ([], {"launched": True, "alive": True}, "starting"),
        ([STARTED], {"launched": True, "alive": True}, "running"),
        ([STARTED], {"launched": True, "alive": True, "stopping": True}, "stopping"),
        ([STARTED], {"launched": True}, "interrupted"),
        ([], {"launched": True}, "interrupted"),
        ([STARTED, FINISHED], {"launched": True}, "completed"),
        ([STARTED, Stopped(step=3)], {"launched": True}, "stopped"),
        ([Failed(cause="user", message="m")], {"launched": True}, "failed"),
        ([STARTED, Stopped(step=3)], {"launched": True, "waiting": True}, "queued"),
        ([STARTED, Stopped(step=3), Progress(phase="starting")], {"launched": True}, "interrupted"),
        ([STARTED, FINISHED, Checkpoint(step=1, path="x")], {"launched": True}, "completed"),
    ],
)
def test_status_is_derived(events, facts, status):
    defaults = {"waiting": False, "launched": False, "alive": False, "stopping": False}
    assert status_of(folded(*events), **{**defaults, **facts}) == status


def test_a_job_without_steps_runs_when_it_tells_its_share():
    """A merge: no step is ever told, and yet it is seen how far it is."""
    told = [Progress(time=100.0, phase="merging", share=0.0), Progress(time=110.0, phase="merging: 1 of 4", share=0.25)]
    alive = {"waiting": False, "launched": True, "alive": True, "stopping": False}
    before = folded(Progress(phase="checking the adapters"))
    assert (before.share, before.seconds_left, status_of(before, **alive)) == (None, None, "starting")
    state = folded(*told)
    assert (state.share, state.seconds_left, status_of(state, **alive)) == (0.25, 30.0, "running")
    assert folded(*told, Progress(phase="checking the adapters")).share is None, "it was begun anew"
    ended = folded(*told, FINISHED)
    assert (ended.share, ended.seconds_left) == (None, None)
    assert folded(STARTED, Progress(phase=EVALUATING)).share is None


def test_events_hold_no_unknown_words(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"event": "progress", "phase": "x", "extra": 1}) + "\n")
    assert read_events(path) == []
