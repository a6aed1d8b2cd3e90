"""Adapters of every kind on the tiny model, with weights that are not nothing; made once for all tests here."""

import json
import shutil
from pathlib import Path

import pytest

from studio.adapters.bundle import CONFIG, WEIGHTS
from studio.adapters.manifest import write_manifest
from studio.methods.tuners import TUNERS

OPTIONS = {"adalora": {"init_r": 6}, "lora": {"r": 4, "target_modules": "q_v"}}


@pytest.fixture(scope="session")
def outside(tmp_path_factory, tiny_model):
    """{tuner: folder of an adapter as PEFT saves it}; "dora" and "other" (a LoRA of rank 8, everywhere) besides."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("outside")
    config = {**json.loads((tiny_model / "config.json").read_text()), "_name_or_path": str(tiny_model)}
    wishes = {name: (name, OPTIONS.get(name, {})) for name, tuner in TUNERS.items() if not tuner.whole_model}
    wishes |= {"other": ("lora", {"use_rslora": True}), "dora": ("lora", {"use_dora": True, "target_modules": "q_v"})}
    torch.manual_seed(3)
    for name, (tuner, options) in wishes.items():
        made = TUNERS[tuner].peft_config(TUNERS[tuner].options(**options), config, "CAUSAL_LM")
        if tuner == "adalora":
            made.total_step = 10
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), made)
        for key, weight in model.named_parameters():
            if weight.requires_grad and "magnitude" not in key and "ranknum" not in key:
                weight.data.copy_(torch.randn_like(weight) * 0.1 + (1.0 if "ia3" in key else 0.0))
        model.save_pretrained(root / name)
    return {name: root / name for name in wishes}


@pytest.fixture
def copy_of(outside, tmp_path):
    """A copy of one of them, with some settings changed."""

    def copy(name: str = "lora", **settings) -> Path:
        folder = tmp_path / f"{name}-copy"
        shutil.copytree(outside[name], folder)
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, **settings}))
        return folder

    return copy


def rewrite_tensors(folder: Path, change) -> None:
    """Change the tensors of an adapter: `change(dict)` in place."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def lora_files(folder: Path, *, rank: int = 2, seed: int = 0) -> Path:
    """A LoRA adapter of the tiny model's first layer, made without torch, as a job leaves it."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    shapes = {"A": (rank, 64), "B": (64, rank)}
    tensors = {key.format(part): random.normal(size=shape).astype(np.float32) for part, shape in shapes.items()}
    save_file(tensors, folder / WEIGHTS)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / CONFIG).write_text(json.dumps(config))
    write_manifest(folder)
    return folder
