"""Adapters for tests without torch: files with random matrices, in the folders of jobs that look finished."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from studio import workspace as names
from studio.jobs.events import EventWriter, Finished
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.store import JobStore

MODULE = "base_model.model.model.layers.{}.self_attn.{}_proj"


def matrices(seed: int, *, r: int = 4, wide: int = 64, targets: str = "qv") -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    found = {}
    for layer in (0, 1):
        for target in targets:
            module = MODULE.format(layer, target)
            found[f"{module}.lora_A.weight"] = draw.normal(size=(r, wide)).astype(np.float32)
            found[f"{module}.lora_B.weight"] = draw.normal(size=(wide, r)).astype(np.float32)
    return found


def write_adapter(folder: Path, tensors: dict[str, np.ndarray], origin: dict[str, Any], **config: Any) -> None:
    """An adapter's folder with its manifest; alpha is 8 unless said."""
    folder.mkdir(parents=True)
    r = next(iter(tensors.values())).shape[0]
    settings = {"peft_type": "LORA", "r": r, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "task_type": "CAUSAL_LM", **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / names.ORIGIN).write_text(json.dumps(origin))
    hashes = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in folder.iterdir()
    }
    (folder / names.MANIFEST).write_text(json.dumps({"files": hashes}))


def finished_job(
    store: JobStore, name: str, tensors: dict[str, np.ndarray], base: str = "starter", **config: Any
) -> str:
    """A finished job of the preset lora with such an adapter; its id."""
    values = read_presets()["lora"].values({"id": "none-00000000", "sha256": ""})
    job = store.create(build_spec({**values, "name": name, "base_model": base}))
    folder = store.workspace.job(job)
    origin = {"job": job, "base_model": base, "base_fingerprint": "abc", "chat_template": "model",
              "dataset_sha256": "", "objective": "sft", "tuner": "lora"}  # fmt: skip
    write_adapter(folder / names.ADAPTER, tensors, origin, **config)
    EventWriter(folder / names.EVENTS).write(
        Finished(step=3, seconds=1, result=names.ADAPTER, result_bytes=1, peak_memory_bytes=0)
    )
    return job
