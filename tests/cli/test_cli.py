"""The command line: what it prints, its exit codes, and one real training from file to answer."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studio.catalog import Catalog
from studio.cli.jobs import imported
from studio.cli.main import run
from studio.jobs.spec import option_fields
from studio.jobs.store import JobStore
from studio.jobs.studio import open_studio
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.settings import REPOSITORY, read_settings
from tests.conftest import instruction_rows, preference_rows, write_rows

REPORT_KEYS = {"verdict", "format", "dataset_type", "rows", "errors", "warnings", "examples", "statistics"}
PROBLEM_KEYS = {"row", "line", "column", "message", "hint"}
ROW = '{"instruction": "a", "output": "b"}\n'


@pytest.fixture(autouse=True)
def home(workspace, monkeypatch):
    """The commands' workspace."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("STUDIO_HUB_TIMEOUT", "1")
    return workspace


@pytest.fixture
def studio_says(capsys):
    """Runs a command and returns (exit code, stdout, stderr)."""

    def say(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return say


def begin(*arguments, workspace, **options):
    """`python -m studio …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "studio", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "STUDIO_WORKSPACE": str(workspace.root)},
        **options,
    )


def store_of(workspace):
    return JobStore(workspace, Catalog(workspace.catalog))


# --- help and facts ---


def test_help_comes_without_gradio_or_torch():
    """For every command: a page of help, in a process that loads none of the heavy libraries."""
    jobs = [["jobs", one] for one in ("list", "show", "stop", "resume", "delete")]
    alone = ["serve", "fetch", "options", "doctor", "version", "methods", "train", "chat", "data", "jobs"]
    commands = [[], *([one] for one in alone), ["data", "inspect"], *jobs]
    heavy = {"gradio", "torch", "transformers", "trl", "peft", "datasets", "pandas"}
    code = (
        "import sys; from studio.cli.main import run\n"
        f"for words in {commands}: assert run([*words, '--help']) == 0, words\n"
        f"print('LOADED', *({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.rstrip().endswith("LOADED")
    assert done.stdout.count("Usage: studio") == len(commands)


def test_version_names_the_libraries(studio_says):
    code, out, _ = studio_says("version", "--json")
    assert code == 0
    assert {"studio", "torch", "transformers", "trl", "peft", "gradio"} <= set(json.loads(out))


def test_methods_and_options_list_every_one(studio_says):
    rows = json.loads(studio_says("methods", "--json")[1])
    assert {row["name"] for row in rows if row["kind"] == "objective"} == set(OBJECTIVES)
    assert {row["name"] for row in rows if row["kind"] == "tuner"} == set(TUNERS)
    for preset in (row["name"] for row in rows if row["kind"] == "preset"):
        listed = json.loads(studio_says("options", "--preset", preset, "--json")[1])
        assert all(row["help"] for row in listed)
        assert "learning_rate" in {row["option"] for row in listed}
    assert {row["option"] for row in json.loads(studio_says("options", "--json")[1])} == {
        key for key, _ in option_fields("sft", "lora")
    }


def test_doctor_says_what_is_missing_and_ends_with_2(studio_says):
    code, out, _ = studio_says("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(out)}
    assert not findings["starter model"]["ok"]
    assert "studio fetch" in findings["starter model"]["found"]
    assert findings["Python"]["ok"]
    assert code == 2


@pytest.mark.parametrize(
    "arguments",
    [["explode"], ["train"], ["data", "inspect"], ["train", "--preset"], ["chat", "--temperature", "9"], ["--nope"]],
)
def test_a_command_that_is_none_ends_with_2(studio_says, arguments):
    code, _, err = studio_says(*arguments)
    assert code == 2
    assert err.strip()


def test_a_variable_that_cannot_be_used_is_named(studio_says, monkeypatch):
    monkeypatch.setenv("STUDIO_PORT", "seven")
    code, out, err = studio_says("jobs", "list", "--json")
    assert code == 2
    assert "STUDIO_PORT=seven" in err
    assert "STUDIO_PORT=seven" in json.loads(out)["error"]["message"]


# --- data inspect ---


def test_a_good_file_is_shown_unchanged(studio_says, tmp_path):
    rows = [{"instruction": "灯塔 <b>?</b>", "input": "", "output": " é\u2028 \n"}, *instruction_rows(4)]
    file = write_rows(tmp_path / "good.jsonl", rows)
    code, out, _ = studio_says("data", "inspect", file, "--examples", "all", "--json")
    report = json.loads(out)
    assert code == 0
    assert set(report) >= REPORT_KEYS
    assert (report["verdict"], report["format"], report["rows"], report["errors"]) == ("ok", "alpaca", 5, [])
    assert len(report["examples"]) == 5
    text = json.dumps(report["examples"][0], ensure_ascii=False)
    assert "灯塔 <b>?</b>" in text
    assert json.dumps(" é\u2028 \n", ensure_ascii=False) in text


def test_words_say_the_same_as_json(studio_says, tmp_path):
    code, out, _ = studio_says("data", "inspect", write_rows(tmp_path / "p.jsonl", preference_rows(3)))
    assert code == 0
    assert "3 rows, preference" in out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.jsonl", ROW * 6 + '{"instruction": "a", "output": \n' + ROW, "line 7"),
        ("broken.json", "[\n" + ",\n".join([ROW.strip()] * 5) + ',\n{"instruction": }\n]', "line 7"),
        ("empty.jsonl", "", "empty"),
        ("blank.json", "  \n\n", "empty"),
        ("list.json", "[]", "empty"),
        ("null.json", "null", "not rows"),
        ("rows.docx", ROW, ".docx"),
        ("rows", "just words", "without an ending"),
        ("missing.jsonl", '{"instruction": "a"}\n', "output"),
        ("unknown.csv", "foo,bar\n1,2\n", "foo"),
        ("answer.jsonl", ROW + '{"instruction": "a", "output": ""}\n', "output"),
        ("latin.csv", "instruction,output\na,\xe9".encode("latin-1"), "0xe9"),
        ("twice.csv", "a,a\n1,2\n", "twice"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_exit_code_2(studio_says, tmp_path, home, name, content, words):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, _ = studio_says("data", "inspect", file, "--json")
    report = json.loads(out)
    assert code == 2
    assert set(report) >= REPORT_KEYS
    assert (report["verdict"], report["rows"], report["examples"]) == ("error", 0, [])
    assert report["errors"]
    for problem in report["errors"]:
        assert set(problem) == PROBLEM_KEYS
        assert problem["message"]
    said = studio_says("data", "inspect", file)
    assert said[0] == 2
    assert words in said[1]
    assert "Traceback" not in said[1] + said[2]
    assert list(home.datasets.iterdir()) == []


def test_an_empty_answer_is_named_by_row_and_column_and_can_be_left_out(studio_says, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(ROW + '{"instruction": "a", "output": "  "}\n' + ROW.replace("b", "c"))
    problem = json.loads(studio_says("data", "inspect", file, "--json")[1])["errors"][0]
    assert (problem["row"], problem["column"]) == (2, "output")
    code, out, _ = studio_says("data", "inspect", file, "--drop-bad-rows", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 2


def test_a_file_that_is_not_there_is_named(studio_says, tmp_path):
    path = tmp_path / "absent.jsonl"
    code, _, err = studio_says("data", "inspect", path)
    assert code == 2
    assert f"There is no file {path}" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["absent.jsonl"], "There is no file"),
        (["folder"], "is a folder"),
        (["fifo"], "a device or a pipe"),
        (["rows.jsonl", "--objective", "xyz"], "no objective 'xyz'"),
        (["rows.jsonl", "--format", "xyz"], "no format 'xyz'"),
        (["rows.jsonl", "--model", "no/such-model"], "not on this machine"),
        (["rows.jsonl", "--examples", "many"], "not a number"),
    ],
)
def test_whatever_the_reason_json_has_the_keys_of_a_report(studio_says, tmp_path, options, words):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    write_rows(tmp_path / "rows.jsonl", instruction_rows(2))
    code, out, err = studio_says("data", "inspect", tmp_path / options[0], *options[1:], "--json")
    report = json.loads(out)
    assert code == 2
    assert set(report) >= REPORT_KEYS
    assert report["verdict"] == "error"
    [problem] = report["errors"]
    assert set(problem) == PROBLEM_KEYS
    assert words in problem["message"]
    assert words in err
    assert report["error"] == {"message": problem["message"], "hint": problem["hint"]}


def test_rows_that_the_models_template_refuses_are_named_beside_the_others(studio_says, tmp_path, tiny_model):
    folder = shutil.copytree(tiny_model, tmp_path / "strict")
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(template + (tiny_model / "chat_template.jinja").read_text())
    rows = [{"instruction": "q", "output": ""}, *instruction_rows(4)]
    rows[2] = {**rows[2], "system": "Be good."}
    file = write_rows(tmp_path / "rows.jsonl", rows)
    code, out, _ = studio_says("data", "inspect", file, "--model", folder, "--drop-bad-rows", "--json")
    report = json.loads(out)
    assert (code, report["verdict"], report["rows"], report["format"]) == (2, "error", 4, "alpaca")
    assert len(report["examples"]) == 3
    [problem] = report["errors"]
    assert problem["row"] == 3
    assert "no system here" in problem["message"]
    assert [len(sequences) for sequences in report["rendered"]] == [1, 0, 1]
    code, out, _ = studio_says("data", "inspect", file, "--model", folder, "--drop-bad-rows")
    assert code == 2
    assert "row 3" in out


def test_a_file_whose_name_is_not_utf_8_is_read_and_named(studio_says, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", instruction_rows(2))
    file = rows.rename(tmp_path / "bad\udcff.jsonl")
    for words in ((), ("--json",)):
        code, out, _ = studio_says("data", "inspect", file, *words)
        assert code == 0
        out.encode()
    file.write_text("{}")
    code, out, _ = studio_says("data", "inspect", file)
    assert code == 2
    assert r"bad\udcff.jsonl" in out
    _, _, err = studio_says("train", "--preset", "lora", "--data", file)
    assert r"bad\udcff.jsonl cannot be used" in err
    _, _, err = studio_says("data", "inspect", tmp_path / "gone\udcff.jsonl")
    assert r"gone\udcff.jsonl" in err


# --- what a training refuses ---


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", instruction_rows(16))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--set", "learning_rate=7"], "Learning rate"),
        (["--set", "learning_rate=fast"], "Learning rate"),
        (["--set", "nonsense=1"], "no option 'nonsense'"),
        (["--set", "learning_rate"], "key=value"),
        (["--set", "tuner.evil=1"], "evil"),
        (["--set", "optim=paged_adamw_8bit", "--set", "r=0"], "Rank"),
        (["--preset", "evil"], "no preset 'evil'"),
        (["--preset", "../../etc/passwd"], "no preset"),
        (["--model", "not a model"], "neither a Hub id nor a folder"),
        (["--model", "/no/such/folder"], "There is no folder /no/such/folder"),
        (["--data", "/no/such/file.jsonl"], "There is no file /no/such/file.jsonl"),
        (["--preset", "dpo", "--name", "2026"], "pairs"),
        (["--eval-data", "/no/such/exam.jsonl"], "There is no file /no/such/exam.jsonl"),
        (["--mix-data", "/no/such/general.jsonl"], "There is no file /no/such/general.jsonl"),
        (["--set", "general_share=0.2"], "nothing says what"),
        (["--set", "eval_share=0.2", "--eval-data", "x.jsonl"], "or --eval-data"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_anything_starts(studio_says, rows, home, changes, words):
    code, out, err = studio_says("train", "--preset", "lora", "--data", rows, "--json", *changes)
    assert code == 2
    assert words in err
    assert words in json.loads(out)["error"]["message"]
    assert list(home.jobs.iterdir()) == []
    assert list(home.datasets.iterdir()) == []


@pytest.mark.parametrize("option", ["--eval-data", "--mix-data"])
def test_a_second_file_is_checked_like_the_first(studio_says, rows, home, tmp_path, option):
    torn = tmp_path / "torn.jsonl"
    torn.write_text(ROW + '{"instruction": 7, "output": "b"}\n')
    pairs = write_rows(tmp_path / "pairs.jsonl", preference_rows(4))
    for file, words in (
        (torn, "torn.jsonl cannot be used"),
        (pairs, "pairs holds pairs"),
        (rows, "is trained on already"),
    ):
        code, _, err = studio_says("train", "--preset", "lora", "--data", rows, option, file)
        assert code == 2
        assert words in err
    assert list(home.jobs.iterdir()) == []
    assert list(home.datasets.iterdir()) == []


def test_a_model_of_the_hub_without_a_network_is_told_so(studio_says, rows, home, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, err = studio_says("train", "--preset", "lora", "--data", rows, "--model", "no-such-org/no-such-model")
    assert code == 2
    assert "no-such-org/no-such-model" in err
    assert "Check the network" in err
    assert list(home.jobs.iterdir()) == []
    assert list(home.datasets.iterdir()) == []


def test_a_file_that_is_a_data_set_already_is_not_kept_twice(home, rows):
    studio = open_studio(read_settings())
    with imported({"dataset": rows}, studio) as first, imported({"dataset": rows}, studio) as second:
        assert first == second
    assert [record.id for record in studio.datasets()] == [first["dataset"]["id"]]


def test_a_folder_is_told_from_a_file_that_is_not_there(studio_says, tmp_path):
    code, _, err = studio_says("data", "inspect", tmp_path)
    assert code == 2
    assert f"{tmp_path} is a folder" in err


@pytest.mark.parametrize("command", ["show", "stop", "resume", "delete"])
@pytest.mark.parametrize("job", ["no-such-job", "../../etc/passwd", "NO", ""])
def test_a_job_that_is_not_there_is_a_sentence(studio_says, command, job):
    code, _, err = studio_says("jobs", command, "--", job)
    assert code == 2
    assert "no job" in err or "not the id of a job" in err


def test_a_chat_with_a_job_that_is_not_there_is_a_sentence(studio_says):
    code, _, err = studio_says("chat", "--adapter", "no-such-job", "--message", "hi")
    assert code == 2
    assert "no-such-job" in err


@pytest.mark.parametrize("command", [["chat", "--quantization"], ["serve", "--chat-quantization"]])
def test_a_way_to_hold_base_models_that_there_is_not_is_a_sentence(studio_says, home, command):
    code, _, err = studio_says(*command, "nf8")
    assert code == 2
    assert "none, int8, nf4" in err
    assert not home.chat_weights.exists()


def test_without_jobs_the_list_says_how_to_start_one(studio_says):
    assert "studio train --preset lora" in studio_says("jobs", "list")[1]
    assert json.loads(studio_says("jobs", "list", "--json")[1]) == []


# --- the real thing ---


def small(rows, model, **changes):
    """A training that is over in seconds."""
    values = {"max_steps": 3, "max_length": 96, "save_steps": 2, "eval_steps": 2, **changes}
    settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return ["train", "--preset", "lora", "--data", rows, "--model", model, *settings]


@pytest.mark.slow
def test_files_to_evaluate_on_and_to_mix_in_are_used(studio_says, rows, tiny_model, home, tmp_path):
    others = {}
    for option, name, count in (("--eval-data", "exam", 4), ("--mix-data", "general", 9)):
        others[option] = write_rows(
            tmp_path / f"{name}.jsonl", [{**row, "instruction": f"{name}?"} for row in instruction_rows(count)]
        )
    words = [word for pair in others.items() for word in pair]
    code, out, err = studio_says(*small(rows, tiny_model, max_steps=1, general_share=0.2), *words, "--json")
    assert code == 0, err
    used = json.loads((Path(json.loads(out)["folder"]) / "data.json").read_text())
    assert (used["train_examples"], used["general_examples"], used["eval_examples"]) == (20, 4, 4)
    spec = json.loads(studio_says("jobs", "show", json.loads(out)["id"], "--json")[1])["spec"]
    for field in ("dataset", "eval_dataset", "general_dataset"):
        assert {key: used[field][key] for key in ("id", "sha256")} == spec[field]


@pytest.mark.slow
def test_a_file_becomes_an_adapter_that_answers(studio_says, rows, tiny_model, home):
    """train, list, show, chat, resume and stop of what is over, delete: each as a script would call it."""
    code, out, err = studio_says(*small(rows, tiny_model), "--name", "lamp", "--json")
    assert code == 0, err
    made = json.loads(out)
    job = made["id"]
    assert (made["status"], made["step"], made["name"]) == ("completed", 3, "lamp")
    assert (Path(made["folder"]) / "adapter" / "adapter_model.safetensors").is_file()
    assert made["end"]["event"] == "finished"

    (listed,) = json.loads(studio_says("jobs", "list", "--json")[1])
    assert (listed["id"], listed["status"]) == (job, "completed")
    assert job in studio_says("jobs", "list")[1]
    shown = json.loads(studio_says("jobs", "show", job, "--json")[1])
    assert shown["spec"]["max_steps"] == 3
    assert [step for step, values in shown["points"] if "loss" in values] == [1, 2, 3]
    assert "3 of 3" in studio_says("jobs", "show", job)[1]

    for command in ("stop", "resume"):
        code, _, err = studio_says("jobs", command, job)
        assert (code, "completed" in err) == (2, True)

    code, out, err = studio_says("chat", "--adapter", job, "--message", "what is tea", "--max-tokens", 5)
    assert code == 0, err
    assert out.endswith("\n")
    assert "Traceback" not in err
    assert store_of(home).view(job).status == "completed"

    assert studio_says("jobs", "delete", job)[0] == 0
    assert json.loads(studio_says("jobs", "list", "--json")[1]) == []
    assert not Path(made["folder"]).exists()


def wait_until(true, process, seconds=120):
    """Wait for something to become true while a command runs."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_learned_and_the_next_in_line_still_gets_its_turn(rows, tiny_model, home):
    """Two trainings at once: the second waits behind the first, whose end by Ctrl-C must not strand it."""
    store = store_of(home)
    first = begin(*small(rows, tiny_model, max_steps=100_000), "--json", workspace=home)
    second = None
    try:
        wait_until(lambda: any(view.state.step > 2 for view in store.views()), first)
        (running,) = store.ids()
        second = begin(*small(rows, tiny_model), "--json", workspace=home)
        wait_until(lambda: len(store.catalog.waiting()) == 1, second)
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
        assert first.returncode == 0, err
        ended = json.loads(out)
        assert (ended["id"], ended["status"]) == (running, "stopped")
        assert ended["step"] > 2
        assert (Path(ended["folder"]) / "adapter" / "adapter_model.safetensors").is_file()
        assert "Traceback" not in err
        out, err = second.communicate(timeout=90)
        assert second.returncode == 0, err
        assert json.loads(out)["status"] == "completed"
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()
        end_workers(home)


def end_workers(workspace):
    """End what a failed test left running."""
    from studio.jobs.launchers import local

    for job_id in store_of(workspace).ids():
        record = local.read_record(workspace.job(job_id))
        if record is not None:
            local.kill(record)
