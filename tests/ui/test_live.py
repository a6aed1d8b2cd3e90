"""What the poller reads and asks for: only what changed, nothing by GET, sentences for errors."""

import logging
import re
import threading
from types import SimpleNamespace
from urllib.parse import quote

import psutil
import pytest

from studio.errors import UserError
from studio.jobs.events import EventWriter, Metrics, Started, Stopped
from studio.jobs.state import JobState
from studio.methods.objectives import OBJECTIVES
from studio.ui import live
from studio.ui.charts import POINTS_AT_ONCE, new_points
from studio.ui.data_room import DataRoom
from studio.ui.live import JobLedger, LiveRoutes, selected_job
from studio.ui.play_routes import PlayRoutes
from studio.ui.server import add_guard, build_routes
from tests.ui.conftest import visitor


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch):
    """Every poll looks at the jobs: the pause between two looks is not what is tested here."""
    monkeypatch.setattr(live, "REFRESH", -1.0)


@pytest.fixture
def page(studio):
    """The routes of this test's studio behind the guard, without Gradio's page."""
    app = build_routes(studio, DataRoom(studio), PlayRoutes(studio))
    add_guard(app, studio)
    return visitor(app)


@pytest.fixture
def tell(studio):
    """Says something in a job's events, as a worker does."""

    def write(job_id, *events):
        writer = EventWriter(studio.workspace.job(job_id) / "events.jsonl")
        for event in events:
            writer.write(event)

    return write


def began(**changes):
    values = {"max_steps": 40, "trainable_parameters": 1, "parameters": 2, "train_examples": 3, "eval_examples": 1}
    return Started(**{**values, "device": "cpu", "dtype": "float32", **changes})


def loss(step, **values):
    return Metrics(step=step, elapsed=step * 0.1, values=values or {"loss": 5 - step / 100})


# --- the list of jobs ---


def test_a_poll_that_knows_everything_gets_nothing(studio, new_job):
    new_job()
    ledger = JobLedger(studio)
    first = ledger.changes(0)
    assert first["whole"]
    assert [entry["name"] for entry in first["jobs"]] == ["lamp"]
    assert ledger.changes(first["list"]) == {}


def test_a_poll_carries_only_the_jobs_that_changed(studio, new_job, tell):
    one, two = new_job("one"), new_job("two")
    ledger = JobLedger(studio)
    known = ledger.changes(0)["list"]
    tell(two, began(), loss(3))
    change = ledger.changes(known)
    assert not change["whole"]
    assert [entry["id"] for entry in change["jobs"]] == [two]
    assert change["jobs"][0]["step"] == 3
    assert change["list"] > known
    assert {entry["id"] for entry in ledger.changes(0)["jobs"]} == {one, two}


def test_a_poll_names_the_jobs_that_are_gone(studio, new_job):
    one, two = new_job("one"), new_job("two")
    ledger = JobLedger(studio)
    known = ledger.changes(0)["list"]
    studio.store.delete(one)
    change = ledger.changes(known)
    assert change["gone"] == [one]
    assert change["jobs"] == []
    assert {entry["id"] for entry in ledger.changes(0)["jobs"]} == {two}


def test_after_a_restart_and_with_a_number_from_the_future_the_whole_list_comes(studio, new_job, monkeypatch):
    new_job()
    now = SimpleNamespace(time=lambda: 1_800_000_000.0, monotonic=lambda: 0.0)
    monkeypatch.setattr(live, "time", now)
    known = JobLedger(studio).changes(0)["list"]
    monkeypatch.setattr(live, "time", SimpleNamespace(time=lambda: 1_800_000_009.0, monotonic=lambda: 0.0))
    restarted = JobLedger(studio)
    for since in (known, restarted.version + 1000, -5):
        change = restarted.changes(since)
        assert change["whole"]
        assert len(change["jobs"]) == 1


def test_a_job_whose_spec_is_damaged_is_listed_and_does_not_hide_the_rest(studio, new_job):
    good, bad = new_job("good"), new_job("bad")
    (studio.workspace.job(bad) / "spec.yaml").write_text("{")
    entries = {entry["id"]: entry["status"] for entry in JobLedger(studio).changes(0)["jobs"]}
    assert set(entries) == {good, bad}
    assert entries[bad] == "failed"


def test_however_many_tabs_ask_the_jobs_are_looked_at_once_in_a_while(studio, new_job, monkeypatch):
    monkeypatch.setattr(live, "REFRESH", 60.0)
    new_job()
    ledger = JobLedger(studio)
    looks = []
    monkeypatch.setattr(studio.store, "views", lambda: looks.append(1) or [])
    for _ in range(20):
        ledger.changes(0)
    assert len(looks) <= 1


# --- one job ---


def test_points_come_once_each_and_the_tag_says_when_there_is_more(studio, new_job, tell):
    job = new_job()
    tell(job, began(), loss(1), loss(2))
    first = selected_job(studio, job, 0, "")
    assert [step for step, _ in first["points"]] == [1, 2]
    assert selected_job(studio, job, first["next"], first["tag"]) == {}
    tell(job, loss(3))
    second = selected_job(studio, job, first["next"], first["tag"])
    assert [step for step, _ in second["points"]] == [3]
    assert second["tag"] != first["tag"]
    assert second["next"] == 3
    assert second["job"]["loss"] == pytest.approx(4.97)


def test_a_change_of_status_alone_changes_the_tag(studio, new_job, tell):
    job = new_job()
    tell(job, began(), loss(1))
    before = selected_job(studio, job, 0, "")
    studio.catalog.enqueue(job)
    after = selected_job(studio, job, before["next"], before["tag"])
    assert after["job"]["status"] == "queued"
    assert after["points"] == []


def test_points_that_a_resume_takes_back_raise_the_revision(studio, new_job, tell):
    job = new_job()
    tell(job, began(), loss(1), loss(2), loss(3), Stopped(step=3))
    before = selected_job(studio, job, 0, "")
    tell(job, began(resumed_from=2))
    after = selected_job(studio, job, before["next"], before["tag"])
    assert after["job"]["revision"] == before["job"]["revision"] + 1
    assert after["next"] == 2


def test_a_job_that_is_not_there_is_told_once(studio):
    told = selected_job(studio, "no-such-job", 0, "")
    assert "no-such-job" in told["missing"]
    assert selected_job(studio, "no-such-job", 0, "missing") == {}


@pytest.mark.parametrize("count", [POINTS_AT_ONCE - 1, POINTS_AT_ONCE, POINTS_AT_ONCE + 1, 10_000, 33_333])
def test_a_long_history_is_thinned_on_strides_that_are_powers_of_two(count):
    state = JobState(points=[(step, {"loss": 1.0}) for step in range(count)])
    evaluations = list(range(77, count, 1001))
    for step in evaluations:
        state.points[step] = (step, {"eval_loss": 2.0})
    steps = [step for step, _ in new_points(state, 0)]
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == count - 1
    assert set(evaluations) <= set(steps)
    regular = set(steps) - set(evaluations) - {count - 1}
    stride = min(step for step in regular if step)
    assert stride & (stride - 1) == 0
    assert all(step % stride == 0 for step in regular)
    assert len(regular) <= POINTS_AT_ONCE + 1
    assert stride == 1 or count // (stride // 2) > POINTS_AT_ONCE, "thinner than needed"


def test_a_metric_that_no_chart_shows_is_not_sent():
    state = JobState(points=[(1, {"loss": 1.0, "epoch": 0.5, "secret": 1.0})])
    assert new_points(state, 0) == [[1, {"loss": 1.0}]]


# --- the routes ---


def test_a_poll_gets_204_when_nothing_changed(page, studio, new_job, tell):
    job = new_job()
    tell(job, began(), loss(1))
    first = page.get("/api/live", params={"job": job, "log": -1}).json()
    assert set(first) == {"list", "jobs", "gone", "whole", "job", "tag", "points", "next", "log"}
    asked = {
        "job": job,
        "list": first["list"],
        "since": first["next"],
        "tag": first["tag"],
        "log": first["log"]["next"],
    }
    quiet = page.get("/api/live", params=asked)
    assert quiet.status_code == 204
    assert quiet.content == b""
    tell(job, loss(2))
    again = page.get("/api/live", params=asked).json()
    assert [step for step, _ in again["points"]] == [2]


def test_the_log_goes_on_where_it_ended(page, studio, new_job):
    job = new_job()
    file = studio.workspace.job(job) / "log.txt"
    file.write_text("one\n灯塔\n", encoding="utf-8")
    first = page.get("/api/live", params={"job": job, "log": -1}).json()["log"]
    assert first == {"text": "one\n灯塔\n", "next": 11}
    with file.open("a") as log:
        log.write("two\n")
    asked = {"job": job, "log": first["next"]}
    assert page.get("/api/live", params=asked).json()["log"] == {"text": "two\n", "next": 15}
    file.write_text("anew\n")  # shorter than the offset: it was replaced
    assert page.get("/api/live", params={"job": job, "log": 15}).json()["log"]["text"] == "anew\n"


def test_a_long_log_begins_near_its_end(page, studio, new_job):
    job = new_job()
    (studio.workspace.job(job) / "log.txt").write_text("x" * 100_000 + "END")
    log = page.get("/api/live", params={"job": job, "log": -1}).json()["log"]
    assert log["next"] == 100_003
    assert log["text"].endswith("END")
    assert len(log["text"]) == 32_000


def test_the_machine_is_told_in_shares_and_words(page):
    told = page.get("/api/system").json()
    assert {meter["name"] for meter in told["meters"]} == {"cpu", "memory", "disk"}
    for meter in (*told["meters"], *told["cards"]):
        assert 0 <= meter["share"] <= 1
        assert meter["text"]
    assert told["supervisor"] is False


def test_the_processor_is_as_busy_whichever_thread_asks(studio, monkeypatch):
    """psutil keeps its last sample for each thread, and a route runs in whichever thread is free."""
    clock, first = [0.0], psutil.cpu_times()

    def cpu_times():
        return first._replace(user=first.user + 0.75 * clock[0], idle=first.idle + 0.25 * clock[0])

    monkeypatch.setattr("psutil.cpu_times", cpu_times)
    monkeypatch.setattr("studio.ui.live.MACHINE_REFRESH", -1.0)
    routes, told = LiveRoutes(studio), []
    for seconds in (8.0, 16.0):
        clock[0] = seconds
        asking = threading.Thread(target=lambda: told.append(routes.system()["meters"][0]))
        asking.start()
        asking.join()
    assert told == [{"name": "cpu", "share": 0.75, "text": "75 %"}] * 2


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_has_figures(page, objective):
    answer = page.get("/api/figures", params={"objective": objective}).json()
    assert [one["name"] for one in answer] == [chart.name for chart in OBJECTIVES[objective].charts]
    assert all(trace["meta"]["metric"] for one in answer for trace in one["figure"]["data"])


def test_an_unknown_objective_is_a_sentence(page):
    answer = page.get("/api/figures", params={"objective": "<script>" * 20})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("There is no objective '<script>")
    assert len(answer.json()["error"]["message"]) < 80


@pytest.mark.parametrize("query", ["since=-1", "since=x", "list=x", "log=x"])
def test_numbers_that_are_none_are_refused(page, query):
    assert page.get(f"/api/live?{query}").status_code == 422


# --- actions ---


def test_stop_resume_and_delete_work_by_post(page, studio, new_job):
    job = new_job()
    studio.catalog.enqueue(job)
    assert page.post(f"/api/jobs/{job}/stop").json() == {"done": "stop"}
    assert studio.store.view(job).status == "stopped"
    assert page.post(f"/api/jobs/{job}/resume").json() == {"done": "resume"}
    assert studio.catalog.waiting() == [job]
    assert page.post(f"/api/jobs/{job}/delete").json() == {"done": "delete"}
    with pytest.raises(UserError):
        studio.store.view(job)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_post_changes_a_job(page, studio, new_job, method):
    job = new_job()
    studio.catalog.enqueue(job)
    for action in ("stop", "resume", "delete"):
        assert page.request(method, f"/api/jobs/{job}/{action}").status_code >= 400
    assert studio.store.view(job).status == "queued"


def test_what_a_job_cannot_do_is_a_sentence(page, studio, new_job):
    job = new_job()
    for address, words in (
        (f"/api/jobs/{job}/explode", "cannot 'explode'"),
        (f"/api/jobs/{job}/stop", "not running"),
        (f"/api/jobs/{job}/unload", "does not wait"),
        ("/api/jobs/no-such-job/stop", "no job"),
        ("/api/jobs/no-such-job/delete", "no job"),
    ):
        answer = page.post(address)
        assert answer.status_code == 400, address
        assert words in answer.json()["error"]["message"]
    assert studio.store.view(job).id == job


SPELLINGS = [
    "..", "../..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "..%252f..%252fetc", "%2e%2e", "....//", "..;/",
    "..\\..", "/etc/passwd", "//etc/passwd", "~", "C:\\x", "file:///etc/passwd", "a/../b", "job#x", "job?x", "job%00",
    "%0a", "job.", "job ", "JOB", "\u2025", "\uff0e\uff0e\uff0fetc", ".staging-x", "-x", "a" * 300, "$(id)", "`id`",
    ";id", "a\nb",
]  # fmt: skip


def test_an_id_that_is_none_reaches_no_path(page, studio):
    """As part of an address and as a parameter: a sentence, no path of this machine, nothing moved."""
    before = sorted(studio.workspace.root.rglob("*"))
    for spelling in SPELLINGS:
        # Percent signs are kept, so that a spelling which is encoded already goes out as it stands.
        inside = quote(spelling, safe="%")
        answers = [
            *(page.post(f"/api/jobs/{inside}/{action}") for action in ("stop", "resume", "delete", "unload")),
            page.get("/api/live", params={"job": spelling, "log": 0}),
        ]
        for answer in answers:
            assert 400 <= answer.status_code < 500, (spelling, answer.text)
            for word in (str(studio.workspace.root), "root:", "Traceback"):
                assert word not in answer.text, spelling
        assert "is not the id of a job" in answers[-1].json()["error"]["message"]
    assert [path for path in before if not path.exists()] == []


# --- bugs ---


def test_a_bug_is_an_id_on_the_screen_and_a_traceback_in_the_log(page, studio, monkeypatch, caplog):
    def broken(*unused):
        raise ZeroDivisionError("canary in /secret/place")

    monkeypatch.setattr(studio.store, "request_stop", broken)
    with caplog.at_level(logging.ERROR, logger="studio.ui"):
        answer = page.post("/api/jobs/lamp/stop")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    error_id = re.search(r"\(error ([0-9a-f]{8})\)", answer.json()["error"]["message"]).group(1)
    record = next(record for record in caplog.records if error_id in record.getMessage())
    assert "canary in /secret/place" in str(record.exc_info[1])
