"""An adapter on disk, before it is loaded: whose it is, whether it is whole, and what reads its tokens."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftConfig
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import studio.methods.bottleneck_layers  # noqa: F401 - PEFT learns of the adapter by this
from studio import workspace as names
from studio.base_models import fingerprint, model_folder
from studio.errors import UserError
from studio.jobs.earlier_jobs import starting_model
from studio.jobs.spec import read_train_spec
from studio.methods.objectives import OBJECTIVES
from studio.worker import checkpoints
from studio.workspace import Workspace, read_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLE = "adapter_model.bin"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
# Beginnings that take something out of the base's weights, or need weights that are not in the file.
BORROWING = ("pissa", "olora", "corda", "loftq", "lora_ga")
log = logging.getLogger("studio.worker")


@dataclass(frozen=True)
class Origin:
    """What an adapter belongs to, told by the note beside it or by its job."""

    base_model: str
    base_fingerprint: str
    objective: str


def find_adapter(name: str, workspace: Workspace, base_fingerprint: str, base_name: str) -> Path:
    """The folder of an adapter that is whole and made for this base. Raises UserError saying what is wrong."""
    folder = workspace.adapter_folder(name)
    job, _, step = name.partition("@")
    if not folder.is_dir():
        raise UserError(
            f"The job {job} has no checkpoint of step {step}." if step else f"The job {name} has no adapter.",
            "Let it finish, or choose another.",
        )
    if (folder / PICKLE).exists():
        raise UserError(
            f"The adapter of {name} has its weights as pickle ({PICKLE}), which can run code and is not accepted.",
            "Save it as .safetensors.",
        )
    checkpoints.verify(folder)
    for file in (WEIGHTS, CONFIG):
        if not (folder / file).is_file():
            raise UserError(f"{name} is no adapter: it has no {file}.", "Choose another.")
    origin = _origin(name, folder, workspace)
    if origin.base_fingerprint != base_fingerprint:
        raise UserError(
            f"The adapter of {name} was trained on another base model ({origin.base_model}); {base_name} is loaded.",
            f"Choose {origin.base_model} for the chat.",
        )
    if origin.objective in OBJECTIVES and OBJECTIVES[origin.objective].task_type != "CAUSAL_LM":
        raise UserError(f"The job {name} made a reward model: it gives marks and does not speak.", "Choose another.")
    return folder


def read_config(name: str, folder: Path) -> Any:
    """PEFT's configuration of an adapter. Raises UserError when it is damaged or cannot stand on the bare base."""
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The {CONFIG} of {name} cannot be read: {error}", "Choose another adapter.") from None
    beginning = str(getattr(config, "init_lora_weights", "")).lower()
    if beginning.startswith(BORROWING):
        raise UserError(
            f"{name} began with {beginning}, which changed the base model's weights; alone it would answer nonsense.",
            "Choose the adapter of the finished job: it is saved so that it stands alone.",
        )
    return config


def stamp(folder: Path) -> tuple[int, int]:
    """Tells one content of the folder from a later one."""
    try:
        status = (folder / names.MANIFEST).stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def tokenizer_key(folder: Path) -> tuple[str, ...]:
    """The hashes of the files that make a tokenizer; empty when the adapter brings none."""
    files = (read_json(folder / names.MANIFEST) or {"files": {}})["files"]
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return ()
    return tuple(
        entry["sha256"]
        for name, entry in sorted(files.items())
        if "token" in name or "template" in name or name in TOKENIZER_FILES
    )


def load_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in an adapter's folder. Raises UserError when it is damaged."""
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"The tokenizer of {name} cannot be read: {error}", "Choose another adapter.") from None


def _origin(name: str, folder: Path, workspace: Workspace) -> Origin:
    job = workspace.job(name.partition("@")[0])
    for file in (folder / names.ORIGIN, job / names.ADAPTER / names.ORIGIN):
        if file.is_file():
            note = json.loads(file.read_text(encoding="utf-8"))
            return Origin(note.get("base_model", "?"), note["base_fingerprint"], note.get("objective", ""))
    if not (job / names.SPEC).is_file():
        raise UserError(f"Nothing says which base model {name} belongs to.", "Import the adapter again.")
    spec = read_train_spec(job / names.SPEC)
    base = starting_model(spec, workspace) or model_folder(spec.base_model, workspace.models)
    if base is None:
        raise UserError(f"{spec.base_model}, the base model of {name}, is not on this machine.", "Fetch it first.")
    return Origin(spec.base_model, fingerprint(base), spec.objective.name)
