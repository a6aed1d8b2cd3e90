"""The counts made of config.json are PEFT's own, for every tuner on models of many shapes, without weights."""

import copy

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

import studio.methods.bottleneck_layers  # noqa: F401 - registers the adapter with PEFT
from studio.errors import UserError
from studio.methods.parameters import COUNTS, linear_shapes, parameters, shape_of, trainable_parameters
from studio.methods.targets import ARCHITECTURES, modules, names_of
from studio.methods.tuners import TUNERS

pytestmark = pytest.mark.slow
LAYERS = 3
# As the files on the Hub say it; layers are cut to three, since every one is like the others.
CONFIGS = {
    "llama-2-7b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "llama-3.2-1b": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "llama-with-biases": {
        "model_type": "llama", "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000, "attention_bias": True,
        "mlp_bias": True, "tie_word_embeddings": False,
    },
    "mistral-7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768, "tie_word_embeddings": False,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "gemma-2b": {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
        "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 256000,
    },
    "gemma-2-2b": {
        "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
    },
    "phi-3-mini": {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "tie_word_embeddings": False,
        "pad_token_id": 0,
    },
    "smollm3-3b": {
        "model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 128256,
    },
    "granite-3-2b": {
        "model_type": "granite", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 49155, "tie_word_embeddings": True,
    },
    "olmo-2-1b": {
        "model_type": "olmo2", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 100352, "tie_word_embeddings": False,
    },
    "gpt2": {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257,
    },
}  # fmt: skip
OPTIONS = {
    "full": [{}],
    "partial": [
        {},
        {"trained_layers": 1, "train_norm": False, "train_head": True},
        {"trained_layers": 3, "train_head": True, "train_embeddings": True},
    ],
    "lora": [{}, {"target_modules": "attention", "use_dora": True}, {"r": 16, "target_modules": "q_v"}],
    "adalora": [{}, {"target_modules": "attention"}],
    "ia3": [{}, {"feedforward_modules": "without"}],
    "bottleneck": [{}, {"placement": "pfeiffer", "bottleneck_size": 16}],
    "shira": [{"r": 4}, {"r": 2, "target_modules": "q_v"}],
    "prompt_tuning": [{"prompt_tuning_init": "RANDOM", "num_virtual_tokens": 7}],
    "p_tuning": [{}, {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 24}],
    "prefix_tuning": [{}, {"prefix_projection": False}],
    "p_tuning_v2": [{}, {"prefix_projection": True, "encoder_hidden_size": 32}],
}


def cut(name):
    key = "n_layer" if "n_layer" in CONFIGS[name] else "num_hidden_layers"
    return {**CONFIGS[name], key: LAYERS}


@pytest.fixture(scope="module", params=CONFIGS)
def shaped(request):
    """(config.json cut to three layers, the library's model of it without weights)."""
    config = cut(request.param)
    values = dict(config)
    with torch.device("meta"):
        return config, AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values))


def test_the_model_has_as_many_weights(shaped):
    config, model = shaped
    assert parameters(config) == model.num_parameters()
    kinds = {"Linear", "Conv1D"}
    inside = sum(type(part).__name__ in kinds for name, part in model.named_modules() if "lm_head" not in name)
    assert inside == LAYERS * len(linear_shapes(config))


@pytest.mark.parametrize(
    ("name", "given"), [(name, given) for name, some in OPTIONS.items() for given in some], ids=str
)
def test_a_tuner_trains_as_many_as_peft_says(shaped, name, given):
    config, model = shaped
    tuner = TUNERS[name]
    options = tuner.options(**given)
    if name == "shira" and config["model_type"] == "gpt2":
        with pytest.raises(UserError, match="Conv1D"):
            tuner.check(options, config)
        return
    tuner.check(options, config)
    assert trainable_parameters(options, config) == library_count(tuner, options, config, copy.deepcopy(model))


@pytest.mark.parametrize("name", ["full", "lora", "partial", "p_tuning", "prefix_tuning", "bottleneck", "ia3"])
def test_a_reward_models_head_learns_in_place_of_the_language_head(name):
    tuner = TUNERS[name]
    options = tuner.options(train_head=True) if name == "partial" else tuner.options()
    for config in map(cut, ("llama-2-7b", "qwen2.5-0.5b", "gpt2")):
        values = {**config, "num_labels": 1, "pad_token_id": 0}
        with torch.device("meta"):
            made = AutoConfig.for_model(values.pop("model_type"), **values)
            model = AutoModelForSequenceClassification.from_config(made)
        counted = trainable_parameters(options, config, scores=True)
        assert counted == library_count(tuner, options, config, model, "SEQ_CLS"), config["model_type"]


def library_count(tuner, options, config, model, task_type="CAUSAL_LM"):
    """The weights that learn, as PEFT or torch counts them."""
    if tuner.prepare is not None and tuner.whole_model:
        tuner.prepare(model, options, [])
    if tuner.peft_config is None:
        return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    made = tuner.peft_config(options, config, task_type)
    if tuner.name == "shira":
        made.mask_fn = lambda base_layer, r, **_: None
    with torch.device("meta"):
        tuned = get_peft_model(model, made, autocast_adapter_dtype=False)
    constants = sum(one.numel() for name, one in tuned.named_parameters() if ".ranknum." in name and one.requires_grad)
    return tuned.get_nb_trainable_parameters()[0] - constants  # AdaLoRA's constants are held, see its `begin`


def test_llama_2_7b_with_lora_of_rank_8_is_the_example_everybody_gives():
    config, lora = CONFIGS["llama-2-7b"], TUNERS["lora"].options
    attention = trainable_parameters(lora(r=8, target_modules="attention"), config)
    assert attention == 8_388_608
    assert parameters(config) + attention == 6_746_804_224
    assert trainable_parameters(lora(r=8, target_modules="q_v"), config) == 4_194_304


def test_every_tuner_is_counted_and_tried():
    assert set(COUNTS) == set(TUNERS) == set(OPTIONS)


def test_an_architecture_that_is_not_known_has_no_count_and_a_sentence():
    config = {"model_type": "mamba", "hidden_size": 8}
    assert shape_of(config) is parameters(config) is linear_shapes(config) is None
    assert trainable_parameters(TUNERS["lora"].options(), config) is None
    assert modules(config, "all-linear") == "all-linear"
    with pytest.raises(UserError, match="mamba"):
        TUNERS["lora"].check(TUNERS["lora"].options(target_modules="q_v"), config)


def test_a_config_that_leaves_sizes_to_the_library_has_no_count():
    config = {key: value for key, value in CONFIGS["gemma-3-1b"].items() if key != "num_attention_heads"}
    assert shape_of(config) is None
    assert shape_of({**CONFIGS["gpt2"], "n_embd": None}) is None
    assert trainable_parameters(TUNERS["lora"].options(), config) is None


SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "n_embd": 32, "n_layer": 2, "n_head": 4, "ffn_dim": 64, "word_embed_proj_dim": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_names_of_an_architecture_are_those_of_its_layers(kind):
    values = {key: value for key, value in SMALL.items() if not (kind == "gpt2" and key == "num_key_value_heads")}
    values |= {"head_dim": 8} if kind == "ministral" else {}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values))
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear | Conv1D)]
    names = names_of({"model_type": kind})
    for ending in {names.query, names.key, names.value, names.output, *names.feedforward, names.feedforward_out}:
        assert sum(name.endswith(f".{ending}") for name in linear) == 2, f"{ending} in {linear[:8]}"
