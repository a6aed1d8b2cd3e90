"""Adapters for tests without training: PEFT's files with random weights, in jobs' folders that look finished."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from studio import workspace as names
from studio.base_models import fingerprint
from studio.jobs.events import EventWriter, Finished
from studio.worker import checkpoints
from studio.workspace import write_json


def base_of(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()


def make_adapter(lab: Any, name: str, config: Any = None, *, seed: int = 1, scale: float = 0.2, **spec: Any) -> str:
    """A finished job in the lab's workspace whose adapter has random weights; its id."""
    spec = lab.spec("lora", name=name, **spec)
    job = lab.folder(spec)
    config = config or LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base_of(lab.model), config)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter) * scale
    origin = {
        "job": job.name,
        "base_model": spec.base_model,
        "base_fingerprint": fingerprint(lab.model),
        "chat_template": spec.chat_template,
        "dataset_sha256": spec.dataset.sha256,
        "objective": spec.objective.name,
        "tuner": spec.tuner.name,
    }

    def fill(staging: Path) -> None:
        model.save_pretrained(staging)
        AutoTokenizer.from_pretrained(lab.model, trust_remote_code=False).save_pretrained(staging)
        write_json(staging / names.ORIGIN, origin)

    size = checkpoints.write_complete(job / names.ADAPTER, fill)
    EventWriter(job / names.EVENTS).write(
        Finished(step=3, seconds=1, result=names.ADAPTER, result_bytes=size, peak_memory_bytes=0)
    )
    return job.name


def loaded(lab: Any, *jobs: str) -> PeftModel:
    """A base model with the adapters of jobs, each under its job's id."""
    first, *others = (lab.workspace.job(job) / names.ADAPTER for job in jobs)
    model = PeftModel.from_pretrained(base_of(lab.model), first, adapter_name=jobs[0])
    for job, folder in zip(jobs[1:], others, strict=True):
        model.load_adapter(folder, adapter_name=job)
    return model.eval()


def deltas(model: PeftModel, adapter: str) -> dict[str, torch.Tensor]:
    """{layer: the update (out, in) of an adapter}, as PEFT computes it."""
    return {
        name: module.get_delta_weight(adapter).detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight") and adapter in module.lora_A
    }
