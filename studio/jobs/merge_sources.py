"""The adapters that a merge may take: their files, where they come from, what shapes they have. Without torch."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from studio import workspace as names
from studio.base_models import fingerprint, model_folder
from studio.errors import UserError
from studio.jobs.spec import JobSpec, TrainSpec, read_job_spec
from studio.methods.tuners import TUNERS
from studio.workspace import Workspace, read_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows
PREFIX = "base_model.model."
PAIRS = {"lora_A.weight": "A", "lora_B.weight": "B", "lora_embedding_A": "A", "lora_embedding_B": "B"}
VECTOR = "ia3_l"
TUNER_OF = {"LORA": "lora", "ADALORA": "adalora", "IA3": "ia3", "SHIRA": "shira"}  # PEFT's name → ours
Header = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One adapter, read from its folder.

    `origin`: base model and its fingerprint, chat template, objective, tuner. `config`: PEFT's adapter_config.json.
    `options`: the tuner's options as a job has them, None where nobody knows. `quantization`: how its base was kept
    while it learned.
    """

    name: str
    folder: Path
    origin: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any] | None
    quantization: str = "none"

    @property
    def kind(self) -> str:
        """PEFT's name for what it is: LORA, IA3 …"""
        return str(self.config.get("peft_type", ""))

    @property
    def tuner(self) -> str:
        """The name of its tuner; one that is not ours by PEFT's name."""
        return TUNER_OF.get(self.kind, str(self.origin.get("tuner", self.kind)))

    @property
    def title(self) -> str:
        """What its tuner is called."""
        return TUNERS[self.tuner].title if self.tuner in TUNERS else self.kind

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @cached_property
    def header(self) -> Header:
        """{tensor: {dtype, shape, data_offsets}} of its file. Raises UserError when that is not safetensors."""
        return read_header(self.weights)

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """{module: {"A": (r, in), "B": (out, r)}}; of an (IA)³ adapter {module: {"ia3_l": shape}}."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for key, entry in self.header.items():
            module, part = split_key(key)
            if part:
                found.setdefault(module, {})[part] = tuple(entry["shape"])
        return found

    def scaling(self, module: str) -> float:
        """What PEFT multiplies B·A of a module by: alpha / r, with rsLoRA alpha / √r; patterns win over both."""
        r = self.shapes_cached[module]["A"][0]
        alpha = _by_pattern(self.config.get("alpha_pattern") or {}, module, self.config.get("lora_alpha", r))
        return float(alpha) / (r**0.5 if self.config.get("use_rslora") else r)

    @cached_property
    def shapes_cached(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return self.shapes()


def split_key(key: str) -> tuple[str, str]:
    """(module, part) of a tensor's name: "A", "B" or "ia3_l"; part "" for what is none of these."""
    for ending, part in {**PAIRS, VECTOR: VECTOR}.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], part
    return key, ""


def read_header(file: Path) -> Header:
    """The header of a safetensors file, metadata left out. Raises UserError when it has none."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if not 2 <= size <= LONGEST_HEADER:
                raise ValueError
            header = json.loads(stream.read(size))
        header.pop("__metadata__", None)
        for entry in header.values():
            begin, end = map(int, entry["data_offsets"])
            if not 0 <= begin <= end or not all(isinstance(side, int) and side >= 0 for side in entry["shape"]):
                raise ValueError
        return dict(header)
    except FileNotFoundError:
        raise UserError(f"{file.parent.name} has no {WEIGHTS}.", "Choose another adapter.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{file.name} in {file.parent.name} is not a safetensors file.", "Restore it.") from None


def read_source(name: str, workspace: Workspace) -> Source:
    """The adapter that `name` means (a job, JOB@STEP, an imported adapter). Raises UserError when there is none."""
    folder = workspace.adapter_folder(name)
    if not (folder / CONFIG).is_file():
        job = name.partition("@")[0]
        if (workspace.job(job) / names.MODEL).is_dir():
            raise UserError(f"{job} made a whole model, and only adapters can be merged.", "Choose adapters.")
        if "@" in name and (workspace.job(job) / names.SPEC).is_file():
            raise UserError(f"{job} keeps no checkpoint of that step.", "Choose it from the list.")
        raise UserError(f"{name} has no adapter.", "Let the job finish, or choose another.")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    home = workspace.job(name.partition("@")[0])
    spec = read_job_spec(home / names.SPEC) if folder.is_relative_to(home) else None
    origin = read_json(folder / names.ORIGIN)
    if origin is None and isinstance(spec, TrainSpec):
        origin = _origin_of_checkpoint(name, spec, workspace)
    if not isinstance(origin, dict):
        raise UserError(f"Nobody knows which base model {name} is for.", "Import it anew, naming its base model.")
    return Source(
        name=name,
        folder=folder,
        origin=origin,
        config=config,
        options=tuner_options_of(spec, origin),
        quantization=spec.quantization if isinstance(spec, TrainSpec) else "none",
    )


def tuner_options_of(spec: JobSpec | None, origin: dict[str, Any]) -> dict[str, Any] | None:
    """The tuner's options that an adapter has: its job's, or noted with it (a merge's); None where nobody knows."""
    if isinstance(spec, TrainSpec):
        return spec.tuner.model_dump()
    known = origin.get("tuner_options")
    return dict(known) if isinstance(known, dict) else None


def mergeable(workspace: Workspace) -> list[str]:
    """The names of all adapters that lie in the workspace: of jobs, of their checkpoints, imported ones."""
    found: list[str] = []
    for job in sorted(workspace.jobs.iterdir()):
        if job.name.startswith("."):
            continue
        if (job / names.ADAPTER / CONFIG).is_file():
            found.append(job.name)
        kept = [path for path in (job / names.CHECKPOINTS).glob("checkpoint-*") if (path / CONFIG).is_file()]
        steps = sorted((int(path.name.rpartition("-")[2]) for path in kept), reverse=True)
        found += [f"{job.name}@{step}" for step in steps]
    imported = sorted(workspace.adapters.iterdir())
    return found + [one.name for one in imported if (one / names.ADAPTER / CONFIG).is_file()]


def _origin_of_checkpoint(name: str, spec: TrainSpec, workspace: Workspace) -> dict[str, Any]:
    """A checkpoint has no note of its own: its job's spec says the same."""
    tuner = TUNERS[spec.tuner.name]
    if tuner.changes_base(spec.tuner):
        raise UserError(
            f"{name} fits the base model only as its job had changed it.", "Choose the job's result instead."
        )
    base = model_folder(spec.base_model, workspace.models)
    if base is None:
        raise UserError(f"{spec.base_model}, the base model of {name}, is not on this machine.", "Fetch it first.")
    return {
        "job": name.partition("@")[0],
        "base_model": spec.base_model,
        "base_fingerprint": fingerprint(base),
        "chat_template": spec.chat_template,
        "dataset_sha256": spec.dataset.sha256,
        "objective": spec.objective.name,
        "tuner": spec.tuner.name,
    }


def _by_pattern(pattern: dict[str, Any], module: str, default: Any) -> Any:
    """A module's entry of a rank or alpha pattern, by the end of its name; PEFT's patterns may be regular expressions,
    which checks refuse before."""
    path = module.removeprefix(PREFIX)
    for key, value in pattern.items():
        if path == key or path.endswith(f".{key}"):
            return value
    return default
