"""Trainable weights as PEFT itself counts them, on meta models of twelve architectures."""

import peft
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from studio.memory.estimate import estimate
from studio.memory.parameters import trainable_parameters
from studio.memory.setup import TUNERS as ALL_TUNERS
from studio.memory.setup import Setup
from studio.memory.shapes import UnknownArchitecture, read_shape
from studio.worker.fake_tuners import _config as peft_config
from studio.worker.fake_tuners import _freeze

SMALL = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512, "tie_word_embeddings": False,
    "max_position_embeddings": 128, "pad_token_id": 0,
}  # fmt: skip
KINDS = {
    "llama": {},
    "llama-with-biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "mistral": {"num_key_value_heads": 1},
    "smollm3": {"tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True},
    "gemma3_text": {"tie_word_embeddings": True},
    "phi3": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48},
}
TUNERS = [
    ("lora", {"r": 8}),
    ("lora", {"r": 4, "target_modules": "attention"}),
    ("lora", {"r": 16, "use_dora": True, "target_modules": "q_v"}),
    ("adalora", {"init_r": 6, "target_modules": "attention"}),
    ("ia3", {}),
    ("prompt_tuning", {"num_virtual_tokens": 7}),
    ("p_tuning", {"num_virtual_tokens": 7, "encoder_hidden_size": 24}),
    ("p_tuning", {"num_virtual_tokens": 7, "encoder_hidden_size": 24, "encoder_reparameterization_type": "LSTM"}),
    ("bottleneck", {"bottleneck_size": 5}),
    ("bottleneck", {"bottleneck_size": 5, "placement": "pfeiffer"}),
    ("prefix_tuning", {"num_virtual_tokens": 7, "encoder_hidden_size": 24}),
    ("p_tuning_v2", {"num_virtual_tokens": 7}),
]


def config_of(kind):
    return {**SMALL, "model_type": kind, **KINDS[kind]}


def meta_model(config):
    values = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **values), trust_remote_code=False
        )


@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_are_counted_once(kind):
    config = config_of(kind)
    assert read_shape(config).parameters == meta_model(config).num_parameters()


def peft_knows(kind, tuner, options):
    """Fused and expert layers have no modules of these names, or PEFT refuses the combination."""
    if kind == "phi3":
        return tuner != "ia3" and "target_modules" not in options
    experts = kind in ("mixtral", "qwen3_moe")
    return not (experts and (tuner in ("ia3", "bottleneck") or options.get("use_dora")))


PAIRS = [(kind, *tuner) for kind in KINDS for tuner in TUNERS if peft_knows(kind, *tuner)]


@pytest.mark.parametrize(("kind", "tuner", "options"), PAIRS, ids=str)
def test_a_tuner_trains_what_peft_says(kind, tuner, options):
    setup, config = Setup(tuner=tuner, options=options), config_of(kind)
    with torch.device("meta"):
        model = peft.get_peft_model(meta_model(config), peft_config(setup))
    assert trainable_parameters(setup, read_shape(config)) == model.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_shira_and_partial_train_what_the_real_model_says(kind):
    """Not on meta: SHiRA draws its mask from real weights."""
    config = config_of(kind)
    shape, made = read_shape(config), meta_model(config).config
    real = AutoModelForCausalLM.from_config(made, trust_remote_code=False)
    names = [name for name, _, _ in shape.linear if name in ("q_proj", "qkv_proj", "o_proj", "down_proj")]
    partial = {"trained_layers": 2, "train_head": True}
    learned = _freeze(real, Setup(tuner="partial", options=partial))
    count = sum(one.numel() for one in learned.parameters() if one.requires_grad)
    assert trainable_parameters(Setup(tuner="partial", options=partial), shape) == count
    adapted = peft.get_peft_model(real, peft.ShiraConfig(r=4, target_modules=names))
    setup = Setup(tuner="shira", options={"r": 4, "target_modules": tuple(names)})
    assert trainable_parameters(setup, shape) == adapted.get_nb_trainable_parameters()[0]


def test_every_tuner_is_counted_on_eight_models_at_least():
    counted = {name: {kind for kind, tuner, _ in PAIRS if tuner == name} for name, _ in TUNERS}
    assert {*counted, "shira", "partial", "full"} == set(ALL_TUNERS)
    assert min(len(kinds) for kinds in (*counted.values(), KINDS)) >= 8


def test_partial_counts_the_last_layers_the_norm_and_the_head():
    shape = read_shape(config_of("llama"))
    options = {"trained_layers": 2, "train_norm": True, "train_head": True}
    count = trainable_parameters(Setup(tuner="partial", options=options), shape)
    assert count == 2 * shape.layer_weights + 64 + 512 * 64


def test_the_document_s_adapter_has_twice_the_weights_that_it_prints():
    from studio.memory import models

    shape = read_shape(models.find("meta-llama/Llama-2-7b-hf"))
    four = Setup(options={"r": 8, "target_modules": "attention"})
    two = Setup(options={"r": 8, "target_modules": "q_v"})
    assert trainable_parameters(four, shape) == 8_388_608
    assert trainable_parameters(two, shape) == 4_194_304


def test_an_unknown_architecture_is_said_to_be_unknown():
    with pytest.raises(UnknownArchitecture, match="mamba"):
        read_shape({"model_type": "mamba", "hidden_size": 8})


@pytest.mark.parametrize("tied", [False, True])
def test_a_reward_model_has_a_score_in_place_of_its_head(tied):
    config = AutoConfig.for_model("llama", **{**SMALL, "tie_word_embeddings": tied, "num_labels": 1})
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    shape = read_shape(config.to_dict())
    assert estimate(Setup(objective="reward", tuner="full"), shape).parameters == model.num_parameters()
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules="all-linear", task_type="SEQ_CLS"))
    found = estimate(Setup(objective="reward", options={"r": 8}), shape)
    assert adapted.get_nb_trainable_parameters() == (found.trainable_parameters, found.parameters)
