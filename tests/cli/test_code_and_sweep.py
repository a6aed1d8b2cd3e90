"""`studio code` and `studio sweep`: a job said again, and several values compared."""

import json

import pytest
import yaml

from studio.cli.main import run
from studio.jobs.spec import build_spec
from studio.jobs.studio import open_studio
from studio.settings import read_settings
from tests.conftest import import_rows, instruction_rows, write_rows


@pytest.fixture(autouse=True)
def home(workspace, monkeypatch):
    """The commands' workspace."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("STUDIO_HUB_TIMEOUT", "1")
    return workspace


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", instruction_rows(12))


@pytest.fixture
def job(home, rows, tiny_model):
    spec = build_spec({"dataset": import_rows(home, rows), "base_model": str(tiny_model), "max_length": 64})
    return open_studio(read_settings()).store.create(spec)


@pytest.fixture
def studio_says(capsys):
    def say(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return say


def test_a_job_is_printed_as_a_script_a_preset_or_axolotls_file(studio_says, job):
    code, script, _ = studio_says("code", job)
    assert code == 0
    compile(script, "train.py", "exec")
    assert "import studio" not in script
    assert yaml.safe_load(studio_says("code", job, "--yaml")[1])["spec"]["tuner"]["name"] == "lora"
    assert yaml.safe_load(studio_says("code", job, "--axolotl")[1])["adapter"] == "lora"
    code, _, err = studio_says("code", job, "--yaml", "--axolotl")
    assert (code, "Either" in err) == (2, True)


def test_all_files_go_into_a_new_folder(studio_says, job, tmp_path):
    code, told, _ = studio_says("code", job, "--out", tmp_path / "out")
    assert code == 0
    assert {"train.py", "train.jsonl", "job.yaml"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert str(tmp_path / "out" / "train.py") in told
    code, _, err = studio_says("code", job, "--out", tmp_path / "out")
    assert (code, "not empty" in err) == (2, True)


@pytest.mark.parametrize(
    ("grid", "words"),
    [("tuner.r", "not of the form"), ("tuner.r=4", "at least two"), ("evil=1,2", "no option"), ("r=0,4", "Rank")],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_starts(studio_says, rows, home, tiny_model, grid, words):
    arguments = ("sweep", "--preset", "lora", "--data", rows, "--model", tiny_model, "--grid", grid)
    code, _, err = studio_says(*arguments)
    assert code == 2
    assert words in err
    assert list(home.jobs.iterdir()) == []


def test_a_sweep_takes_other_data_as_train_does(studio_says, rows, home, tiny_model):
    arguments = ("sweep", "--preset", "lora", "--data", rows, "--model", tiny_model, "--grid", "r=2,4")
    code, _, err = studio_says(*arguments, "--set", "general_share=0.5")
    assert (code, "--mix-data" in err) == (2, True)
    code, _, err = studio_says(*arguments[:-1], "eval_share=0.1,0.2", "--eval-data", rows)
    assert (code, "Either a share" in err) == (2, True)
    assert list(home.jobs.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_trains_every_value_and_marks_the_best(studio_says, rows, tiny_model, tmp_path):
    exam = write_rows(tmp_path / "exam.jsonl", instruction_rows(5))
    settings = [word for key, value in {"max_steps": 2, "max_length": 64, "eval_steps": 1}.items()
                for word in ("--set", f"{key}={value}")]  # fmt: skip
    code, out, err = studio_says(
        "sweep", "--preset", "lora", "--data", rows, "--model", tiny_model, "--grid", "tuner.r=2,4", "--json",
        "--eval-data", exam, *settings,
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)["jobs"]
    assert [(one["values"], one["status"]) for one in told] == [
        ({"tuner.r": 2}, "completed"),
        ({"tuner.r": 4}, "completed"),
    ]
    assert sum(one["best"] for one in told) == 1
    assert {(one["metric"], one["higher_is_better"]) for one in told} == {("eval_loss", False)}
    assert told[1]["trainable_parameters"] == 2 * told[0]["trainable_parameters"]
    assert all(one["eval_loss"] > 0 and one["seconds"] >= 0 and one["result_bytes"] > 0 for one in told)
