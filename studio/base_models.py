"""Starter model, Hub ids, local folders → checked facts about a base model, read without torch."""

import hashlib
import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from studio.errors import UserError

STARTER = "SmolLM2-135M-Instruct"
STARTER_FOLDER = "smollm2-135m-instruct"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
FINGERPRINT_SAMPLES, SAMPLE_BYTES = 16, 64 * 1024


@dataclass(frozen=True, kw_only=True)
class BaseModelFacts:
    """What config.json and the weight files' headers say. `parameters` counts tied weights once."""

    name: str
    folder: Path
    model_type: str
    parameters: int
    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    max_position_embeddings: int
    has_chat_template: bool


def model_folder(name: str, models: Path, roots: tuple[Path, ...] | None = None) -> Path | None:
    """Where the base model called `name` lies on this machine, or None for a Hub id not fetched yet.

    `name` is "starter", a Hub id (org/name) or a folder. `roots`: folders that local models may lie in; None
    allows any. Raises UserError when `name` is none of these.
    """
    if name in ("starter", STARTER):
        folder = models / STARTER_FOLDER
        if not (folder / "config.json").is_file():
            raise UserError("The starter model is not here yet.", "Run `make run` once, or `python -m studio fetch`.")
        return folder
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith((".", "~")):
        return _local_folder(path.resolve(), roots)
    if not HUB_ID.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} is neither a Hub id nor a folder.",
            "Write organisation/model, or the full path of a model folder.",
        )
    return _cached_snapshot(name)


def read_facts(name: str, folder: Path) -> BaseModelFacts:
    """The facts of a model folder, after checking that it is complete and harmless. Raises UserError."""
    config = read_config(folder)
    files = weight_files(folder)
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{name} has no tokenizer.json.", "Download the model's tokenizer as well.")
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    assert isinstance(text, dict)
    tokenizer_config = folder / "tokenizer_config.json"
    has_template = (folder / "chat_template.jinja").is_file() or (
        tokenizer_config.is_file() and "chat_template" in json.loads(tokenizer_config.read_text(encoding="utf-8"))
    )
    return BaseModelFacts(
        name=name,
        folder=folder,
        model_type=str(config.get("model_type", "")),
        parameters=sum(_parameters(file) for file in files),
        hidden_size=int(text.get("hidden_size", 0)),
        num_hidden_layers=int(text.get("num_hidden_layers", 0)),
        vocab_size=int(text.get("vocab_size", 0)),
        max_position_embeddings=int(text.get("max_position_embeddings", 0)),
        has_chat_template=has_template,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json. Raises UserError when it is missing, broken, or would run code of its own."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder.name} has no config.json.", "Choose the folder that holds config.json.") from None
    except ValueError:
        raise UserError(f"The config.json of {folder.name} is not valid JSON.", "Download it again.") from None
    if not isinstance(config, dict) or not config.get("model_type"):
        raise UserError(f"The config.json of {folder.name} names no model_type.", "Choose another model.")
    if "auto_map" in config:
        raise UserError(f"{folder.name} needs Python code of its own.", "Choose a model that transformers knows.")
    for key, value in config.items():
        # transformers loads a kernel from the Hub, code included, when this names a repository.
        if "attn_implementation" in key and isinstance(value, str) and "/" in value:
            raise UserError(f"{folder.name} asks for foreign code in {key}.", "Remove the key, or choose another.")
    return config


def fingerprint(folder: Path) -> str:
    """A hash that tells one base model's weights from another's: every file's header and 16 samples of 64 KiB."""
    digest = hashlib.sha256()
    for file in weight_files(folder):
        size = file.stat().st_size
        with file.open("rb") as stream:
            header = stream.read(8)
            digest.update(header + stream.read(int.from_bytes(header, "little")))
            for index in range(FINGERPRINT_SAMPLES):
                stream.seek(index * max(0, size - SAMPLE_BYTES) // (FINGERPRINT_SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, all there. Raises UserError naming what is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{folder.name} lacks the weight file {missing[0]}.", "Download the model again.")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if not files and list(folder.glob("*.bin")) + list(folder.glob("*.pt")):
        raise UserError(
            f"{folder.name} has its weights as pickle, which can run code and is not accepted.",
            "Choose a model with .safetensors files.",
        )
    if not files:
        raise UserError(f"{folder.name} has no .safetensors weights.", "Choose a folder with model weights.")
    return files


def _local_folder(path: Path, roots: tuple[Path, ...] | None) -> Path:
    if roots is not None and not any(path.is_relative_to(root.resolve()) for root in roots):
        raise UserError(
            "Folders of this machine can be used only where the operator allowed it.",
            "Ask for STUDIO_MODEL_ROOTS to be set, or use a Hub id.",
        )
    if not path.is_dir():
        raise UserError(f"There is no folder {path}.", "Check the path.")
    return path


def _cached_snapshot(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(hub_id, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        weight_files(folder)
    except UserError:
        return None  # begun, not finished: the download goes on where it stopped
    return folder


def _parameters(file: Path) -> int:
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
