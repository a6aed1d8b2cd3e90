"""The benchmarks measure what they say: the sums are right, the record keeps no names, a run writes it."""

import json
import re
from pathlib import Path

import pytest

import benchmarks
from benchmarks import BENCHMARKS
from benchmarks.__main__ import main
from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.record import add_result, machine, table
from benchmarks.training import ROWS, speed_of, take_rows
from benchmarks.worker import Run, Step, run_worker
from studio.base_models import STARTER_FOLDER
from studio.data.sources import RowReader
from studio.jobs.events import Finished, Metrics
from tests.conftest import instruction_rows, tiny_spec, write_rows

RESULTS = Path(benchmarks.__file__).parent / "results"


def step(number: int, *, elapsed: float, rate: float, cpu: float) -> Step:
    metrics = Metrics(step=number, elapsed=elapsed, values={"loss": 1.0, "tokens_per_second": rate})
    return Step(metrics=metrics, cpu_seconds=cpu)


def finished(peak: int = 0) -> Finished:
    return Finished(step=3, seconds=1, result="adapter", result_bytes=1, peak_memory_bytes=peak)


@pytest.fixture
def one_benchmark(monkeypatch, tmp_path, tiny_model):
    """A registry of one quick entry, and a workspace that has a starter model; gives the Options it was asked."""
    asked: list[Options] = []

    def measure(options: Options) -> list[Figure]:
        asked.append(options)
        return [Figure(name="thing", value=2.0, unit="s", goal=1.0)]

    monkeypatch.setattr(
        "benchmarks.__main__.BENCHMARKS", {"quick": Benchmark(name="quick", title="Q", measure=measure)}
    )
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    (tmp_path / "workspace" / "models").mkdir(parents=True)
    (tmp_path / "workspace" / "models" / STARTER_FOLDER).symlink_to(tiny_model)
    return asked


def test_every_benchmark_is_a_file_of_its_name():
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert benchmark.measure.__module__ == f"benchmarks.{name}"


@pytest.mark.parametrize(
    ("value", "goal", "more_is_better", "met"),
    [(1.4, 1.5, False, True), (1.6, 1.5, False, False), (60.0, 57.4, True, True), (50.0, 57.4, True, False)],
)
def test_a_goal_is_met_on_its_own_side(value, goal, more_is_better, met):
    assert Figure(name="a", value=value, unit="", goal=goal, more_is_better=more_is_better).met is met


def test_a_figure_without_a_goal_is_neither_met_nor_missed():
    assert Figure(name="a", value=1.0, unit="").met is None


def test_speed_counts_the_tokens_and_cpu_seconds_after_the_first_step():
    steps = [
        step(1, elapsed=5.0, rate=999.0, cpu=20.0),
        step(2, elapsed=7.0, rate=100.0, cpu=24.0),
        step(3, elapsed=8.0, rate=50.0, cpu=26.0),
    ]
    speed = speed_of(Run(steps=steps, finished=finished(peak=7), cpu_seconds=30.0))
    assert speed.tokens == 250
    assert speed.tokens_per_cpu_second == pytest.approx(25.0)
    assert speed.first_step_cpu_seconds == 20.0
    assert speed.peak_bytes == 7


def test_a_short_file_is_repeated_to_256_rows_and_the_note_says_so(tmp_path):
    note = take_rows(write_rows(tmp_path / "few.jsonl", instruction_rows(100)), tmp_path / "rows.jsonl")
    rows = [row for _, row in RowReader().read(tmp_path / "rows.jsonl")]
    assert len(rows) == ROWS
    assert rows[100] == rows[0]
    assert "100 rows repeated" in note


def test_a_worker_is_watched_step_by_step(studio, instructions, tiny_model):
    job = studio.store.create(tiny_spec("lora", instructions, tiny_model, eval_share=0.0))
    run = run_worker(studio.workspace.job(job), threads=1)
    assert [one.metrics.step for one in run.steps] == [1, 2, 3]
    moments = [*(one.cpu_seconds for one in run.steps), run.cpu_seconds]
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert run.finished.peak_memory_bytes > 10**8


def test_a_worker_that_fails_is_told_with_its_reason(studio, instructions, tmp_path):
    job = studio.store.create(tiny_spec("lora", instructions, tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match="There is no folder"):
        run_worker(studio.workspace.job(job), threads=1)


def test_a_run_writes_its_figures_and_prints_what_was_missed(one_benchmark, tmp_path, capsys):
    file = tmp_path / "out" / "latest.json"
    assert main(["--output", str(file), "--steps", "7"]) == 0
    assert one_benchmark[0].steps == 7
    line = next(line for line in capsys.readouterr().out.splitlines() if "thing" in line)
    assert line.startswith("NO")
    assert "at most 1" in line
    assert json.loads(file.read_text())["benchmarks"]["quick"]["figures"][0]["met"] is False


def test_json_is_what_was_written(one_benchmark, tmp_path, capsys):
    file = tmp_path / "latest.json"
    assert main(["--output", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text())


def test_without_a_starter_model_nothing_is_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    assert main(["--output", str(tmp_path / "latest.json")]) == 2
    assert "python -m studio fetch" in capsys.readouterr().err
    assert not (tmp_path / "latest.json").exists()


def test_a_repeated_benchmark_replaces_its_figures_and_leaves_the_others(tmp_path):
    file = tmp_path / "latest.json"
    add_result(file, "a", "A", [Figure(name="x", value=1.0, unit="s")])
    add_result(file, "b", "B", [Figure(name="y", value=2.0, unit="s")])
    record = add_result(file, "a", "A", [Figure(name="x", value=3.0, unit="s")])
    assert record["benchmarks"]["a"]["figures"][0]["value"] == 3.0
    assert record["benchmarks"]["b"]["figures"][0]["value"] == 2.0


def test_figures_of_another_machine_are_not_mixed_in(tmp_path):
    file = tmp_path / "latest.json"
    other = {"machine": {**machine(), "cpu": "another"}, "benchmarks": {"b": {"figures": []}}}
    file.write_text(json.dumps(other))
    assert set(add_result(file, "a", "A", [])["benchmarks"]) == {"a"}


@pytest.mark.parametrize("file", sorted(RESULTS.glob("20*.json")), ids=lambda file: file.name)
def test_a_kept_record_is_complete_and_names_no_path(file):
    text = file.read_text()
    record = json.loads(text)
    assert set(record["benchmarks"]) >= {name for name, one in BENCHMARKS.items() if not one.on_demand}
    assert {"cpu", "cores", "python", "versions"} <= set(record["machine"])
    assert not re.search(r"(?<![\w.:])/(work|home|tmp|root|Users)/", text)
    assert table(record).count("\n") > 20


def test_there_is_a_kept_record():
    assert list(RESULTS.glob("20*-cpu.json"))


@pytest.mark.child  # its processor time is what is measured
def test_a_large_file_is_made_read_and_paged(tmp_path, monkeypatch, tiny_model):
    from benchmarks.data import measure

    (tmp_path / STARTER_FOLDER).symlink_to(tiny_model)
    figures = {one.name: one for one in measure(Options(models=tmp_path, megabytes=2))}
    assert figures["checked"].value > 0
    assert "rows, 2 MB" in figures["checked"].note
    assert all(one.value > 0 for one in figures.values())
    assert {one.goal for one in figures.values()} == {3.0, 50.0, 800.0, 300.0}
