"""Every tuner trains what it says and nothing else; its adapters live on one base, which stays as it was."""

import json
import math
import subprocess
import sys

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.events import Finished, Started
from studio.methods.parameters import trainable_parameters
from studio.methods.tuners import TUNERS
from studio.methods.tuners.adalora import AdaloraOptions, schedule
from studio.methods.tuners.lora import INITIAL
from studio.worker import adapters, load
from studio.worker.adapters import AdapterShelf
from studio.worker.soft_prompts import count_positions
from studio.worker.trainer import TUNER_STATE
from tests.worker.conftest import of_kind, train_in, values_of

pytestmark = pytest.mark.slow
# What of each tuner is tried here; the matrix runs every one with its defaults.
VARIANTS = {
    "lora": {"name": "lora"},
    "lora-q-v": {"name": "lora", "target_modules": "q_v", "use_rslora": True, "loraplus_lr_ratio": 16},
    "dora": {"name": "lora", "use_dora": True, "target_modules": "attention"},
    "pissa": {"name": "lora", "init_lora_weights": "pissa", "r": 4},
    "pissa-niter": {"name": "lora", "init_lora_weights": "pissa_niter_4", "r": 4, "use_rslora": True},
    "olora": {"name": "lora", "init_lora_weights": "olora", "r": 4},
    "adalora": {"name": "adalora", "init_r": 6, "target_r": 3},
    "adalora-q-v": {"name": "adalora", "init_r": 4, "target_r": 2, "target_modules": "q_v"},
    "ia3": {"name": "ia3"},
    "ia3-attention": {"name": "ia3", "feedforward_modules": "without"},
    "bottleneck": {"name": "bottleneck", "bottleneck_size": 8},
    "pfeiffer": {"name": "bottleneck", "placement": "pfeiffer", "activation": "relu"},
    "shira": {"name": "shira", "r": 4},
    "shira-magnitude": {"name": "shira", "r": 4, "mask_type": "magnitude"},
    "shira-gradient": {"name": "shira", "r": 4, "mask_type": "gradient"},
    "prompt": {"name": "prompt_tuning", "prompt_tuning_init_text": "the lamp is lit"},
    "prompt-random": {"name": "prompt_tuning", "prompt_tuning_init": "RANDOM"},
    "p-tuning": {"name": "p_tuning"},
    "p-tuning-lstm": {"name": "p_tuning", "encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 16},
    "prefix": {"name": "prefix_tuning"},
    "p-tuning-v2": {"name": "p_tuning_v2"},
}
LEARNING_RATE = 0.1  # so much that every adapter answers otherwise than the base
PROMPT = [5, 17, 40, 8, 99]
# Reads base, [(quantization, adapter), …] and a prompt, answers logits and tokens: what a process that never trained
# them makes of them.
FRESH = """
import gc
gc.disable()
import json, sys, torch
import studio.methods.bottleneck_layers
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
torch.set_num_threads(1)
base, adapters, prompt = json.loads(sys.stdin.read())
kinds = {"nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                     bnb_4bit_compute_dtype=torch.float32), "int8": dict(load_in_8bit=True)}
answers = []
for quantized, folder in adapters:
    options = {"quantization_config": BitsAndBytesConfig(**kinds[quantized])} if quantized != "none" else {}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **options)
    for part in model.modules():
        part.support_avx512bf16_for_cpu = False  # see studio/worker/load.py
    model = PeftModel.from_pretrained(model, folder).eval()
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
        words = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, min_new_tokens=8,
                               do_sample=False, pad_token_id=2)[0].tolist()
    answers.append([logits.tolist(), words[-8:]])
print("ANSWERS" + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def alone(lab, trained):
    """{(quantization, variant): (logits after the prompt, eight tokens)}: each loaded by PEFT itself, elsewhere."""
    cells = [(kind, name) for kind in ("none", "int8", "nf4") for name in trained if (kind, name) != ("int8", "dora")]
    adapters = [(kind, str(trained[name] / names.ADAPTER)) for kind, name in cells]
    given = json.dumps([str(lab.model), adapters, PROMPT])
    done = subprocess.run([sys.executable, "-c", FRESH], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(cells, json.loads(done.stdout.partition("ANSWERS")[2]), strict=True))


@torch.inference_mode()
def speak(shelf, name, tokens=8):
    """(logits after the prompt, the likeliest tokens) as the playground makes them."""
    with shelf.use(name) as voice:
        cache, inputs = voice.begin(torch.tensor([PROMPT]))
        logits = first = voice.model(**inputs, past_key_values=cache, use_cache=True).logits[0, -1]
        words = [int(logits.argmax())]
        while len(words) < tokens:
            inputs = {"input_ids": torch.tensor([words[-1:]])}
            logits = voice.model(**inputs, past_key_values=cache, use_cache=True).logits[0, -1]
            words.append(int(logits.argmax()))
    return first, words


def shelf_of(lab, quantization="none"):
    spec = lab.spec("qlora", quantization=quantization)
    model = load.load_model(lab.model, dtype=torch.float32, where=torch.device("cpu"), spec=spec)
    return AdapterShelf(model, load.load_tokenizer(lab.model, "model"), lab.model, lab.workspace)


@pytest.fixture(scope="module")
def trained(lab):
    """Variant → the folder of a job of three steps."""
    return {
        name: lab.train(lab.spec("lora", tuner=options, learning_rate=LEARNING_RATE, lr_scheduler_type="constant"))
        for name, options in VARIANTS.items()
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_it_trains_and_tells_how_many_weights(lab, trained, name):
    losses = values_of(trained[name], "loss")
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    [started], [finished] = of_kind(trained[name], Started), of_kind(trained[name], Finished)
    spec = lab.spec("lora", tuner=VARIANTS[name])
    config = json.loads((lab.model / "config.json").read_text())
    assert started.trainable_parameters == trainable_parameters(spec.tuner, config)
    assert finished.result == "adapter"


def test_adapters_of_every_kind_speak_one_after_another_on_one_base(lab, trained, alone):
    shelf = shelf_of(lab)
    base_before, words_before = speak(shelf, "base")
    weights = {name: weight.clone() for name, weight in shelf._model.state_dict().items()}
    first = {name: speak(shelf, folder.name) for name, folder in trained.items()}
    backwards = {name: speak(shelf, trained[name].name) for name in reversed(trained)}
    base_after, words_after = speak(shelf, "base")
    assert torch.equal(base_before, base_after)
    assert words_before == words_after
    for name, (logits, words) in first.items():
        assert torch.equal(logits, backwards[name][0]), name
        assert words == backwards[name][1]
        assert not torch.allclose(logits, base_before, atol=1e-3), f"{name} does nothing"
    assert all(torch.equal(weight, weights[name]) for name, weight in shelf._model.state_dict().items())
    assert weights.keys() == shelf._model.state_dict().keys()
    for name, (logits, words) in first.items():
        expected, spoken = alone["none", name]
        assert torch.allclose(logits, torch.tensor(expected), atol=1e-5), name
        assert words == spoken, name


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_so_they_do_on_a_quantized_base(lab, trained, alone, quantization):
    chosen = {name: folder for name, folder in trained.items() if (quantization, name) in alone}
    shelf = shelf_of(lab, quantization)
    before, _ = speak(shelf, "base")
    first = {name: speak(shelf, folder.name) for name, folder in chosen.items()}
    for name in reversed(first):
        assert torch.equal(speak(shelf, chosen[name].name)[0], first[name][0]), name
    assert torch.equal(speak(shelf, "base")[0], before)
    for name, (logits, words) in first.items():
        expected, spoken = alone[quantization, name]
        assert torch.allclose(logits, torch.tensor(expected), atol=1e-4), name
        assert words == spoken, name


def test_twins_share_every_tensor(lab):
    model = load.load_model(lab.model, dtype=torch.float32, where=torch.device("cpu"), spec=None)
    other = adapters.twin(model)
    assert other is not model
    assert {id(one) for one in [*other.parameters(), *other.buffers()]} == {
        id(one) for one in [*model.parameters(), *model.buffers()]
    }
    assert not {id(one) for one in other.modules()} & {id(one) for one in model.modules()}


def test_a_reward_model_is_not_asked_to_speak(lab):
    spec = lab.spec("lora", dataset=lab.preferences, objective={"name": "reward"}, eval_share=0)
    folder = lab.train(spec)
    with pytest.raises(UserError, match="reward model"):
        shelf_of(lab).find(folder.name)


def test_a_soft_prompt_takes_its_part_of_the_context(lab, trained):
    shelf = shelf_of(lab)
    assert shelf.room("base") == shelf.room(trained["lora"].name) == 512
    assert shelf.room(trained["prefix"].name) == shelf.room(trained["prompt"].name) == 492


@pytest.mark.parametrize("name", ["pissa", "pissa-niter", "olora"])
def test_a_beginning_that_changes_the_base_is_saved_as_plain_lora(trained, name):
    config = json.loads((trained[name] / names.ADAPTER / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert config["r"] == 8, "twice the rank: what was learned, less what it began with"
    assert (trained[name] / INITIAL).is_dir()


@pytest.mark.parametrize("name", ["pissa", "olora"])
def test_the_converted_adapter_does_what_the_trained_one_did(lab, name, monkeypatch):
    from studio.worker import train

    seen = {}
    saving = train._save

    def save(staging, trainer, *rest):
        ids = torch.tensor([PROMPT])
        with torch.inference_mode():
            seen["logits"] = trainer.model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
        saving(staging, trainer, *rest)

    monkeypatch.setattr(train, "_save", save)
    folder = lab.train(lab.spec("lora", tuner=VARIANTS[name], learning_rate=LEARNING_RATE, dtype="float32"))
    logits, _ = speak(shelf_of(lab), folder.name)
    assert torch.allclose(logits, seen["logits"], atol=1e-4)


def test_adalora_takes_rank_away_down_to_its_target(lab, trained):
    config = json.loads((trained["adalora"] / names.ADAPTER / "adapter_config.json").read_text())
    ranks = [sum(kept) for kept in config["rank_pattern"].values()]
    assert len(ranks) == 14
    assert sum(ranks) == 14 * 3
    assert len(set(ranks)) > 1, "some matrices keep more than others"


def test_the_schedule_of_adalora_is_in_steps_or_shares():
    assert schedule(AdaloraOptions(tinit=0.1, tfinal=0.3), 100) == (10, 30)
    assert schedule(AdaloraOptions(tinit=5, tfinal=20), 100) == (5, 20)
    with pytest.raises(UserError, match="no step"):
        schedule(AdaloraOptions(tinit=50, tfinal=50), 100)


def test_lora_plus_lets_b_learn_faster(lab):
    from studio.methods.tuners.lora import LoraOptions, groups, peft_config

    model = AutoModelForCausalLM.from_pretrained(lab.model)
    options = LoraOptions(loraplus_lr_ratio=16, use_dora=True)
    tuned = get_peft_model(model, peft_config(options, {"model_type": "llama"}, "CAUSAL_LM"))
    made = groups(tuned, options, 1e-4, 0.1)
    assert [round(group["lr"] / 1e-4) for group in made] == [1, 16, 16]
    assert [len(group["params"]) for group in made] == [14, 14, 14], "A, B, DoRA's lengths"
    assert [group["weight_decay"] for group in made] == [0.1, 0.1, 0.0]
    assert groups(tuned, LoraOptions(), 1e-4, 0.1) is None


@pytest.mark.parametrize("name", ["adalora", "p-tuning", "prefix", "pissa", "prompt", "bottleneck", "shira-gradient"])
def test_a_job_that_goes_on_ends_as_one_that_was_never_interrupted(lab, name):
    spec = lab.spec("lora", tuner=VARIANTS[name], max_steps=6, save_steps=3, learning_rate=0.01)
    whole = lab.train(spec)
    half = lab.folder(spec)
    (half / names.CHECKPOINTS).mkdir()
    source = whole / names.CHECKPOINTS / "checkpoint-3"
    assert (source / TUNER_STATE).is_file() == (TUNERS[spec.tuner.name].read_state is not None)
    source.rename(half / names.CHECKPOINTS / source.name)
    train_in(half)
    assert values_of(half, "loss") == values_of(whole, "loss")[3:]
    file = f"{names.ADAPTER}/adapter_model.safetensors"
    assert (half / file).read_bytes() == (whole / file).read_bytes()


def test_partial_training_moves_the_chosen_layers_alone(lab):
    from safetensors.torch import load_file

    folder = lab.train(lab.spec("full", tuner={"name": "partial", "trained_layers": 1}))
    before = load_file(lab.model / "model.safetensors")
    after = load_file(folder / names.MODEL / "model.safetensors")
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name].float())}
    assert moved == {name for name in before if ".layers.1." in name or name == "model.norm.weight"}


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({"trained_layers": 1, "train_norm": False}, set()),
        ({"trained_layers": 1, "train_norm": False, "train_embeddings": True}, {"model.embed_tokens.weight"}),
        ({"trained_layers": 1, "train_norm": False, "train_head": True}, {"model.embed_tokens.weight"}),
    ],
)
def test_what_partial_lets_learn_is_chosen(lab, options, extra):
    from studio.methods.tuners.partial import PartialOptions, prepare

    model = AutoModelForCausalLM.from_pretrained(lab.model)
    prepare(model, PartialOptions(**options), [])
    learns = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learns == {name for name, _ in model.named_parameters() if ".layers.1." in name} | extra


@pytest.mark.parametrize("name", ["prompt_tuning", "p_tuning", "prefix_tuning", "p_tuning_v2"])
def test_padding_before_a_text_does_not_come_between_it_and_a_soft_prompt(lab, name):
    model = AutoModelForCausalLM.from_pretrained(lab.model)
    tuner, config = TUNERS[name], {**model.config.to_dict(), "_name_or_path": str(lab.model)}
    model = get_peft_model(model, tuner.peft_config(tuner.options(), config, "CAUSAL_LM")).eval()
    alone, padded = torch.tensor([PROMPT]), torch.tensor([[2, 2, 2, *PROMPT]])
    with torch.no_grad():
        wanted = model(input_ids=alone, attention_mask=torch.ones_like(alone)).logits[0, -5:]
        mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
        shifted = model(input_ids=padded, attention_mask=mask).logits[0, -5:]
        count_positions(model)
        right = model(input_ids=padded, attention_mask=mask).logits[0, -5:]
    assert torch.allclose(right, wanted, atol=1e-6)
    assert not torch.allclose(shifted, wanted, atol=1e-4), "PEFT counts the padding"


def test_gradient_masks_take_the_weights_with_the_largest_gradients(lab):
    from studio.methods.tuners.shira import ShiraOptions, peft_config, prepare

    model = AutoModelForCausalLM.from_pretrained(lab.model)
    options = ShiraOptions(r=2, mask_type="gradient", target_modules="q_v")
    rows = [{"input_ids": PROMPT, "labels": PROMPT}]
    model(input_ids=torch.tensor([PROMPT]), labels=torch.tensor([PROMPT])).loss.backward()
    layer = model.model.layers[0].self_attn.q_proj
    gradient = layer.weight.grad.abs()
    model.zero_grad(set_to_none=True)
    prepare(model, options, rows)
    tuned = get_peft_model(model, peft_config(options, {"model_type": "llama"}, "CAUSAL_LM"))
    indices = tuned.base_model.model.model.layers[0].self_attn.q_proj.shira_indices["default"].long()
    chosen = gradient[indices[0], indices[1]]
    assert len(chosen) == 2 * (64 + 64)
    assert chosen.min() >= gradient.flatten().kthvalue(gradient.numel() - len(chosen)).values
