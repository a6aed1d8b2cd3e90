"""An adapter from outside becomes what a job would have left, or is refused in a sentence and leaves nothing."""

import json
import shutil
import threading
import zipfile
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from studio import hub
from studio.adapters import __main__ as adapters_child
from studio.adapters import bringing, tokenizer
from studio.adapters.__main__ import TASKS
from studio.adapters.bringing import bring_in, fetch
from studio.adapters.bundle import CONFIG, WEIGHTS
from studio.adapters.kinds import KINDS
from studio.adapters.manifest import verify
from studio.adapters.record import RECORD, ImportedAdapters, ImportSource
from studio.base_models import fingerprint
from studio.errors import UserError
from studio.methods.tuners import TUNERS
from studio.workspace import ADAPTER, ORIGIN
from tests.adapters.conftest import rewrite_tensors
from tests.conftest import make_tiny_model

SOURCE = ImportSource(kind="folder", name="from outside")
PLENTY = 10**9


@pytest.fixture
def bring(workspace, tiny_model, monkeypatch):
    """Brings an adapter in without a process of its own, which only costs time here."""
    monkeypatch.setattr(bringing, "run_isolated", in_this_process)

    def bring(*paths, **options):
        given = {"bases": {"tiny": tiny_model}, "base_model": "tiny", "limit": PLENTY, **options}
        return bring_in(list(paths), workspace, source=SOURCE, **given)

    return bring


def in_this_process(task, *, told=None, **request):
    request = {name: value for name, value in request.items() if name not in ("module", "online", "cancelled")}
    return TASKS[task](request, told or (lambda share, known: None))


def logits(base, folder):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    with torch.no_grad():
        return model(torch.arange(5, 25)[None]).logits


def zipped(folder, file, *, below=""):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in folder.iterdir():
            archive.write(member, below + member.name)
    return file


def left_behind(workspace):
    return [path.name for path in workspace.adapters.iterdir()]


@pytest.mark.parametrize("tuner", [name for name, one in TUNERS.items() if not one.whole_model] + ["dora", "other"])
def test_an_adapter_of_every_tuner_is_kept_as_a_job_would_have_left_it(bring, outside, workspace, tiny_model, tuner):
    import torch

    record = bring(outside[tuner])
    folder = workspace.adapter_folder(record.id)
    assert folder == workspace.adapter(record.id) / ADAPTER
    verify(folder)
    origin = json.loads((folder / ORIGIN).read_text())
    assert origin["base_fingerprint"] == fingerprint(tiny_model)
    assert (origin["objective"], origin["tuner"]) == ("sft", record.tuner)
    assert record.tuner in TUNERS
    assert {CONFIG, WEIGHTS, "tokenizer.json", ORIGIN, "manifest.json"} <= set(record.files)
    assert ImportedAdapters(workspace).records() == [record]
    assert left_behind(workspace) == [record.id]
    assert torch.equal(logits(tiny_model, folder), logits(tiny_model, outside[tuner]))


def test_every_tuner_that_makes_adapters_can_be_brought_in():
    # P-tuning v2 is prefix tuning without a network: the files do not tell which it was.
    expected = {name for name, one in TUNERS.items() if not one.whole_model} - {"p_tuning_v2"}
    assert {kind.tuner for kind in KINDS.values()} == expected


def test_a_zip_is_read_in_a_process_of_its_own_and_tells_its_progress(outside, workspace, tiny_model, tmp_path):
    told = []
    record = bring_in(
        [zipped(outside["lora"], tmp_path / "mine.zip", below="checkpoints/last/")],
        workspace,
        source=SOURCE,
        bases={"tiny": tiny_model},
        limit=PLENTY,
        told=lambda share, known: told.append((share, known["phase"])),
    )
    assert record.base_model == "tiny"  # the folder that the adapter names is that of a base that is known
    assert [phase for _, phase in told][0] == "copying"
    assert told == sorted(told, key=lambda one: one[0])


@pytest.mark.child
def test_a_cancelled_import_leaves_nothing(outside, workspace, tiny_model):
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(UserError, match="Cancelled"):
        bring_in([outside["lora"]], workspace, source=SOURCE, bases={"tiny": tiny_model}, limit=PLENTY,
                 cancelled=cancelled)  # fmt: skip
    assert left_behind(workspace) == []


# --- what is refused -------------------------------------------------------------------------------------------

# Settings of adapter_config.json, and what the refusal says.
SETTINGS = [
    ({"peft_type": "LOHA"}, "kind 'LOHA'"),
    ({"peft_type": None}, "kind 'None'"),
    ({"task_type": "SEQ_CLS"}, "only CAUSAL_LM"),
    ({"init_lora_weights": "pissa"}, "changes the base model's own weights"),
    ({"loftq_config": {"loftq_bits": 4}}, "changes the base model's own weights"),
    ({"bias": "all"}, "biases of the base model"),
    ({"megatron_config": {"x": 1}}, "'megatron_config'"),
    ({"layer_replication": [[0, 2]]}, "'layer_replication'"),
    ({"target_parameters": ["experts"]}, "'target_parameters'"),
    ({"never_heard_of": True}, "'never_heard_of'"),
    ({"lora_alpha": "16; import os"}, "sets lora_alpha"),
    ({"lora_alpha": 10**12}, "sets lora_alpha"),
    ({"rank_pattern": {"(a+)+$": 4}}, "sets rank_pattern"),
    ({"r": 5}, "the rank 5, its tensors have 4"),
    ({"use_dora": True}, "do not belong together"),
]


@pytest.mark.parametrize(("settings", "reason"), SETTINGS, ids=lambda one: str(one)[:40])
def test_a_setting_that_cannot_be_used_is_named(bring, copy_of, workspace, settings, reason):
    with pytest.raises(UserError) as caught:
        bring(copy_of("lora", **settings))
    assert reason in str(caught.value)
    assert left_behind(workspace) == []


def test_settings_that_name_code_or_files_are_not_taken_over(bring, copy_of, workspace):
    record = bring(
        copy_of(
            "prompt_tuning",
            auto_mapping={"base_model_class": "X", "parent_library": "os"},
            tokenizer_name_or_path="/etc",
            tokenizer_kwargs={"trust_remote_code": True},
            base_model_name_or_path="evil/model",
            prompt_tuning_init="TEXT",
        )
    )
    kept = json.loads((workspace.adapter_folder(record.id) / CONFIG).read_text())
    assert kept["prompt_tuning_init"] == "RANDOM"
    assert not {"auto_mapping", "tokenizer_kwargs", "tokenizer_name_or_path"} & set(kept)
    assert "evil" not in json.dumps(kept)
    assert "auto_mapping" in record.left_out


def test_target_modules_come_from_the_tensors_and_not_from_an_expression(bring, copy_of, workspace):
    record = bring(copy_of("lora", target_modules="(.*)*(q|v)_proj", layers_to_transform=[0]))
    kept = json.loads((workspace.adapter_folder(record.id) / CONFIG).read_text())
    assert kept["target_modules"] == ["q_proj", "v_proj"]
    assert "layers_to_transform" not in kept


def test_a_function_of_torch_is_no_activation(bring, copy_of):
    with pytest.raises(UserError, match="sets activation"):
        bring(copy_of("bottleneck", activation="softmax"))


def first(tensors, part):
    return next(name for name in tensors if part in name)


def broken_value(tensors):
    tensors[first(tensors, "lora_A")][0, 0] = np.nan


def lost_half(tensors):
    del tensors[first(tensors, "lora_B")]


def foreign_tensor(tensors):
    tensors["base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight"] = np.zeros((2, 2), np.float32)


def other_layer(tensors):
    name = first(tensors, "lora_A")
    for part in ("lora_A", "lora_B"):
        old = name.replace("lora_A", part)
        tensors[old.replace("layers.0", "layers.7").replace("layers.1", "layers.7")] = tensors.pop(old)


def whole_numbers(tensors):
    name = first(tensors, "lora_A")
    tensors[name] = tensors[name].astype(np.int32)


TENSORS = [
    (broken_value, "no numbers"),
    (lost_half, "do not belong together"),
    (foreign_tensor, "does not have"),
    (other_layer, "has no layer model.layers.7"),
    (whole_numbers, "the type I32"),
]


@pytest.mark.parametrize(("change", "reason"), TENSORS, ids=lambda one: getattr(one, "__name__", ""))
def test_tensors_that_cannot_be_are_refused(bring, copy_of, workspace, change, reason):
    folder = copy_of("lora")
    rewrite_tensors(folder, change)
    with pytest.raises(UserError) as caught:
        bring(folder)
    assert reason in str(caught.value)
    assert left_behind(workspace) == []


def test_a_mask_that_points_outside_the_weight_is_refused(bring, copy_of):
    folder = copy_of("shira")
    rewrite_tensors(folder, lambda tensors: tensors[first(tensors, "shira_indices")].__setitem__((0, 0), 10**6))
    with pytest.raises(UserError, match="points outside"):
        bring(folder)


def test_another_base_is_refused_with_both_shapes(bring, outside, tmp_path, tiny_model):
    from transformers import AutoConfig, LlamaForCausalLM

    wide = tmp_path / "wide"
    config = AutoConfig.from_pretrained(tiny_model)
    config.num_key_value_heads, config.hidden_size = 4, 96
    LlamaForCausalLM(config).save_pretrained(wide)
    with pytest.raises(UserError) as caught:
        bring(outside["lora"], bases={"wide": wide}, base_model="wide")
    assert "64 × 64, that of wide is 64 × 96" in str(caught.value)
    assert str(tiny_model) in caught.value.hint


def test_a_base_that_is_not_here_is_asked_for(bring, copy_of, tmp_path):
    folder = copy_of("lora", base_model_name_or_path="somebody/large-model")
    with pytest.raises(UserError) as caught:
        bring(folder, base_model="")
    assert "'somebody/large-model', which is not on this machine" in str(caught.value)
    other = make_tiny_model(tmp_path / "same-shape", seed=5)
    assert bring(folder, bases={"mine": other}, base_model="mine").says_base == "somebody/large-model"


def test_other_weights_of_the_same_shape_are_refused_when_a_studio_noted_them(bring, outside, tmp_path, tiny_model):
    again = tmp_path / "exported"
    shutil.copytree(outside["lora"], again)
    (again / ORIGIN).write_text(json.dumps({"base_model": "theirs", "base_fingerprint": fingerprint(tiny_model)}))
    assert bring(again).base_model == "tiny"
    other = make_tiny_model(tmp_path / "same-shape", seed=6)
    with pytest.raises(UserError, match="trained on other weights"):
        bring(again, bases={"mine": other}, base_model="mine")


def test_a_pickle_is_refused_and_one_beside_the_weights_is_left(bring, copy_of):
    folder = copy_of("lora")
    (folder / "training_args.bin").write_bytes(b"\x80\x04cposix\nsystem\n")
    record = bring(folder)
    assert "training_args.bin" in record.left_out
    assert "training_args.bin" not in record.files
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(UserError, match="is a pickle"):
        bring(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_link_is_refused(bring, copy_of, name):
    folder = copy_of("lora")
    (folder / name).rename(folder / "real")
    (folder / name).symlink_to(folder / "real")
    with pytest.raises(UserError, match="is a link"):
        bring(folder)


@pytest.mark.parametrize("name", ["../adapter_config.json", "/etc/adapter_config.json"])
def test_a_zip_that_leaves_its_folder_is_refused(bring, outside, tmp_path, name):
    file = zipped(outside["lora"], tmp_path / "evil.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(UserError, match="points outside"):
        bring(file)


def test_a_zip_that_grows_without_end_is_refused(bring, outside, tmp_path):
    file = zipped(outside["lora"], tmp_path / "bomb.zip")
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(80 * 1024**2))
    with pytest.raises(UserError, match="grows"):
        bring(file)


def test_two_adapters_in_one_zip_are_told_apart(bring, outside, tmp_path):
    file = zipped(outside["lora"], tmp_path / "two.zip", below="a/")
    with zipfile.ZipFile(file, "a") as archive:
        archive.write(outside["ia3"] / CONFIG, f"b/{CONFIG}")
    with pytest.raises(UserError, match="holds 2 adapters: 'a', 'b'"):
        bring(file)


def test_what_is_too_large_or_not_there_is_said(bring, outside):
    with pytest.raises(UserError, match="at most 0 MB"):
        bring(outside["lora"], limit=1000)
    with pytest.raises(UserError, match="has no adapter_model.safetensors"):
        bring(outside["lora"] / CONFIG)
    with pytest.raises(UserError, match="has no adapter_config.json"):
        bring(outside["lora"] / WEIGHTS)


# --- the tokenizer ---------------------------------------------------------------------------------------------


def give_tokenizer(folder, base, **config):
    (folder / "tokenizer.json").write_text((base / "tokenizer.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", **config}))


def test_a_tokenizer_of_its_own_is_kept_without_what_names_code_or_files(bring, copy_of, workspace, tiny_model):
    folder = copy_of("lora")
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    give_tokenizer(
        folder, tiny_model, chat_template=template, auto_map={"AutoTokenizer": "x.Y"}, vocab_file="/etc/passwd"
    )
    record = bring(folder)
    assert record.tokenizer == "own"
    kept = json.loads((workspace.adapter_folder(record.id) / "tokenizer_config.json").read_text())
    assert kept == {"eos_token": "<|im_end|>", "chat_template": template}


def test_a_tokenizer_with_more_tokens_than_the_base_is_refused(bring, copy_of, tiny_model):
    folder = copy_of("lora")
    give_tokenizer(folder, tiny_model)
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["vocab"]["zzz"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="tokens up to 5,000; the base model knows 318"):
        bring(folder)


def test_a_template_that_cannot_be_rendered_is_refused(bring, copy_of, tiny_model):
    folder = copy_of("lora")
    give_tokenizer(folder, tiny_model, chat_template="{{ ''.__class__.__mro__ }}{% for")
    with pytest.raises(UserError, match="template refuses"):
        bring(folder)


def test_a_template_that_loops_is_ended_and_named(bring, copy_of, workspace, tiny_model, monkeypatch):
    folder, loop = copy_of("lora"), "{% for i in range(99999) %}"
    give_tokenizer(folder, tiny_model, chat_template=f"{loop * 3}{{% endfor %}}{{% endfor %}}{{% endfor %}}")
    monkeypatch.setattr(tokenizer, "template_time", partial(tokenizer.template_time, 0.2))
    with pytest.raises(UserError, match=r"chat template took more than 0\.2 seconds") as caught:
        bring(folder)
    assert "template that loops" in caught.value.hint
    assert left_behind(workspace) == []


# --- from the Hub ----------------------------------------------------------------------------------------------


@pytest.fixture
def fake_hub(monkeypatch, outside):
    """A Hub that has one adapter, and one in pickle."""
    import huggingface_hub

    files = {"me/lora": {CONFIG: 900, WEIGHTS: 20_000}, "me/old": {CONFIG: 900, "adapter_model.bin": 20_000}}
    fetched = []

    class Api:
        def model_info(self, hub_id, files_metadata):
            siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files[hub_id].items()]
            return SimpleNamespace(siblings=siblings)

    def snapshot_download(hub_id, *, allow_patterns, local_dir):
        assert not [pattern for pattern in allow_patterns if pattern.endswith((".bin", ".py", "*"))]
        fetched.append(hub_id)
        shutil.copytree(outside["lora"], local_dir, dirs_exist_ok=True)
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(adapters_child, "check_hub_answers", lambda hub_id: None)
    return fetched


def test_an_adapter_of_the_hub_is_fetched_and_brought_in(bring, fake_hub, tmp_path):
    folder = tmp_path / "fetched"
    folder.mkdir()
    fetch("me/lora", folder, limit=PLENTY)
    assert fake_hub == ["me/lora"]
    assert bring(folder).tuner == "lora"


def test_pickles_and_large_ones_of_the_hub_are_refused_before_they_are_fetched(bring, fake_hub, tmp_path):
    with pytest.raises(UserError, match="as pickle"):
        fetch("me/old", tmp_path, limit=PLENTY)
    with pytest.raises(UserError, match="at most 0 MB"):
        fetch("me/lora", tmp_path, limit=1000)
    with pytest.raises(UserError, match="not the id of an adapter"):
        fetch("../../etc", tmp_path, limit=PLENTY)
    assert fake_hub == []
    assert "*" not in "".join(hub.ADAPTER_FILES)


def test_a_hub_that_does_not_answer_is_told_before_its_library_tries(bring, monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("it tries for half a minute"))
    with pytest.raises(UserError, match="does not answer, so me/lora"):
        fetch("me/lora", tmp_path, limit=PLENTY)


# --- afterwards ------------------------------------------------------------------------------------------------


def test_an_imported_adapter_is_renamed_and_removed_and_nothing_else(bring, outside, workspace):
    shelf, record = ImportedAdapters(workspace), bring(outside["lora"], name="mine")
    assert shelf.rename(record.id, "  the  lamp ").name == "the lamp"
    for bad in ("", "x" * 81, "a\x00b"):
        with pytest.raises(UserError, match="1 to 80"):
            shelf.rename(record.id, bad)
    (workspace.jobs / "job-00000000").mkdir()
    for other in ("job-00000000", "../jobs/job-00000000", "."):
        with pytest.raises(UserError):
            shelf.remove(other)
    (workspace.adapter(record.id) / RECORD).write_text("{")  # a damaged one is told, and can be deleted
    assert shelf.records() == []
    assert list(shelf.unreadable()) == [record.id]
    shelf.remove(record.id)
    assert left_behind(workspace) == []
    assert (workspace.jobs / "job-00000000").is_dir()
