"""Adapters made by hand for the tests of the inference engine: random weights, saved as a job saves them."""

import json
import shutil

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

import studio.methods.bottleneck_layers  # noqa: F401
from studio import workspace as names
from studio.base_models import fingerprint
from studio.worker import checkpoints
from studio.workspace import Workspace

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS = {
    "lora-a": lambda: LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR, task_type="CAUSAL_LM"),
    "lora-b": lambda: LoraConfig(
        r=8, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    ),
    "lora-c": lambda: LoraConfig(
        r=2,
        target_modules=LINEAR,
        rank_pattern={"q_proj": 6},
        alpha_pattern={"up_proj": 3},
        layers_to_transform=[1],
        task_type="CAUSAL_LM",
    ),
    "dora": lambda: LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "ia3": lambda: IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
    "prompt": lambda: PromptTuningConfig(num_virtual_tokens=7, task_type="CAUSAL_LM"),
}


def make_adapter(workspace: Workspace, base, name, kind, *, seed=0, strength=0.5, tokenizer=True, config=None):
    """A random adapter in the place of an imported one; its folder."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    model = get_peft_model(model, config or CONFIGS[kind]())
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * strength)
    folder = workspace.adapter(name) / names.ADAPTER
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    if tokenizer:
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    write_origin(folder, base)
    return folder


def write_origin(folder, base, **changes):
    """The note and the manifest beside an adapter."""
    origin = {"base_model": str(base), "base_fingerprint": fingerprint(base), "objective": "sft", "tuner": "lora"}
    (folder / names.ORIGIN).write_text(json.dumps({**origin, **changes}))
    checkpoints.write_manifest(folder)


def copy_adapter(workspace: Workspace, folder, name):
    """The same adapter under another name."""
    place = workspace.adapter(name) / names.ADAPTER
    shutil.copytree(folder, place)
    return place
