"""Adapters of jobs, of checkpoints and from elsewhere: found by name, whole, and made for this base."""

import json
import shutil

import pytest
import torch

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.spec import spec_text
from studio.worker import checkpoints, load
from studio.worker.adapters import AdapterShelf
from studio.worker.lora_rows import read_lora
from studio.worker.template_limits import prompt_tokens
from studio.workspace import Workspace
from tests.conftest import make_tiny_model, tiny_spec
from tests.worker.voices import make_adapter, write_origin

MESSAGES = [{"role": "user", "content": "what is question 3"}]


@pytest.fixture(scope="module")
def workspace(tiny_model, tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("files") / "workspace").prepare()
    make_adapter(workspace, tiny_model, "imported", "lora-a")
    return workspace


@pytest.fixture(scope="module")
def shelf(tiny_model, workspace):
    model = load.load_model(tiny_model, dtype=torch.float32, where=torch.device("cpu"), spec=None)
    return AdapterShelf(model, load.load_tokenizer(tiny_model, "model"), tiny_model, workspace)


@pytest.fixture
def copy(workspace, request):
    """A new adapter like the imported one, and its folder; `write_manifest` after a change."""
    name = f"copy-{abs(hash(request.node.name)) % 10**8}"
    folder = workspace.adapter(name) / names.ADAPTER
    shutil.copytree(workspace.adapter_folder("imported"), folder)
    return name, folder


def refused(shelf, name, word):
    with pytest.raises(UserError, match=word) as caught:
        shelf.voice(name)
    assert caught.value.hint
    assert name not in shelf.loaded


def test_a_checkpoint_of_a_job_is_an_adapter_whose_base_its_spec_names(shelf, workspace, tiny_model):
    data = {"id": "data-1", "sha256": "0" * 64}
    job = workspace.job("job-1")
    checkpoint = job / names.CHECKPOINTS / "checkpoint-20"
    shutil.copytree(workspace.adapter_folder("imported"), checkpoint)
    (checkpoint / names.ORIGIN).unlink()
    checkpoints.write_manifest(checkpoint)
    (job / names.SPEC).write_text(spec_text(tiny_spec("lora", data, tiny_model)))
    assert shelf.voice("job-1@20").lora is not None
    assert "job-1@20" in shelf.loaded
    refused(shelf, "job-1@21", "no checkpoint of step 21")
    refused(shelf, "job-1", "has no adapter")
    refused(shelf, "job-1@x", "is not the step of a checkpoint")


def test_an_adapter_of_another_base_is_refused_by_its_spec_too(shelf, workspace, tmp_path):
    other = make_tiny_model(tmp_path / "other", seed=5)
    job = workspace.job("job-2")
    checkpoint = job / names.CHECKPOINTS / "checkpoint-3"
    shutil.copytree(workspace.adapter_folder("imported"), checkpoint)
    (checkpoint / names.ORIGIN).unlink()
    checkpoints.write_manifest(checkpoint)
    (job / names.SPEC).write_text(spec_text(tiny_spec("lora", {"id": "data-1", "sha256": "0" * 64}, other)))
    refused(shelf, "job-2@3", "trained on another base model")


def test_without_a_tokenizer_the_bases_is_used_and_it_is_said(shelf, workspace, tiny_model):
    make_adapter(workspace, tiny_model, "bare", "lora-a", tokenizer=False)
    voice = shelf.voice("bare")
    assert voice.tokenizer is shelf.tokenizer("base")
    assert "no tokenizer" in voice.notes[0]
    assert shelf.voice("imported").notes == ()


def test_adapters_with_the_same_tokenizer_share_it(shelf, copy):
    assert shelf.voice(copy[0]).tokenizer is shelf.voice("imported").tokenizer


def test_pickles_are_refused_in_a_sentence(shelf, copy):
    name, folder = copy
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    checkpoints.write_manifest(folder)
    refused(shelf, name, "pickle .adapter_model.bin., which can run code")


def test_a_folder_without_weights_is_no_adapter(shelf, copy):
    name, folder = copy
    (folder / "adapter_model.safetensors").unlink()
    checkpoints.write_manifest(folder)
    refused(shelf, name, "has no adapter_model.safetensors")


def test_an_adapter_of_another_shape_is_refused(shelf, copy):
    from safetensors.torch import load_file, save_file

    name, folder = copy
    file = folder / "adapter_model.safetensors"
    save_file({key: torch.cat([value, value], 1) for key, value in load_file(file).items()}, file)
    checkpoints.write_manifest(folder)
    refused(shelf, name, "does not fit the model")


@pytest.mark.parametrize("beginning", ["pissa", "olora", "pissa_niter_4"])
def test_a_checkpoint_that_needs_its_changed_base_is_refused(shelf, copy, beginning):
    name, folder = copy
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": beginning}))
    checkpoints.write_manifest(folder)
    refused(shelf, name, "changed the base model's weights")


def test_an_adapter_whose_job_went_on_is_loaded_anew(shelf, copy, tiny_model):
    name, folder = copy
    before = shelf.voice(name)
    assert shelf.voice(name) is before
    write_origin(folder, tiny_model, more="x" * 50)
    assert shelf.voice(name) is not before


@pytest.mark.parametrize(
    "change", [{"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"alora_invocation_tokens": [1]}]
)
def test_what_is_more_than_plain_lora_is_left_to_peft(shelf, workspace, change):
    folder = workspace.adapter_folder("imported")
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(folder)
    assert read_lora(folder / "adapter_model.safetensors", config, shelf._twin) is not None
    for field, value in change.items():
        setattr(config, field, value)
    assert read_lora(folder / "adapter_model.safetensors", config, shelf._twin) is None


@pytest.mark.parametrize(
    ("template", "word"),
    [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "took more than 0.2 seconds",
        ),
        ("{{ raise_exception('no turns') }}", "no turns"),
        ("{{ messages[7].content }}", "does not take this conversation"),
        ("{{ 1 / 0 }}", "does not take this conversation"),
        ("{% if %}", "does not take this conversation"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "does not take this conversation"),
    ],
    ids=["loops", "raises", "missing", "divides", "syntax", "escapes"],
)
def test_a_template_that_loops_or_raises_is_told_in_a_sentence(shelf, template, word):
    with pytest.raises(UserError, match=word) as caught:
        prompt_tokens(shelf.tokenizer("base"), template, MESSAGES, seconds=0.2)
    assert caught.value.hint
    import sys

    assert sys.gettrace() is None


def test_a_prompt_is_what_the_tokenizer_makes_of_it(shelf):
    voice = shelf.voice("base")
    wanted = voice.tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert prompt_tokens(voice.tokenizer, voice.chat_template, MESSAGES) == wanted
