"""Which options a job needs to learn on an adapter that came from elsewhere, and whether it reads the base's text."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio.base_models import model_folder, read_config
from studio.errors import UserError
from studio.jobs.merge_sources import Source
from studio.methods.targets import Where, names_of
from studio.methods.tuners.lora import LoraOptions
from studio.workspace import Workspace, read_json

# What a LoRA may have that no job of ours has: other ranks or scales in some layers, layers that were saved whole.
STRANGE = ("rank_pattern", "alpha_pattern", "modules_to_save")
HINT = "Continue from another one, or train a new adapter."


def imported_options(source: Source, workspace: Workspace) -> dict[str, Any]:
    """The tuner's options with which an imported adapter has a place in the base model. Raises UserError.

    Layers that it has not, but these options would have, begin without effect.
    """
    config = source.config
    if source.kind != "LORA" or any(config.get(name) for name in STRANGE):
        raise UserError(f"{source.name} is no plain LoRA of one rank; other imported adapters only answer.", HINT)
    try:
        options = LoraOptions(
            r=config.get("r", 8),
            lora_alpha=config.get("lora_alpha", 8),
            target_modules=_where(source, workspace),
            use_rslora=config.get("use_rslora", False),
            use_dora=config.get("use_dora", False),
        )
    except ValidationError:
        raise UserError(f"{source.name} has a rank or an alpha that no job can have.", HINT) from None
    return options.model_dump()


def check_tokenizer(name: str, folder: Path, base: Path) -> None:
    """Raise UserError when an adapter was trained on other tokens or another chat template than its base has: jobs
    write their prompts by the base's."""
    own, given = _template(folder), _template(base)
    if (own and own != given) or _vocabulary(folder) != _vocabulary(base):
        raise UserError(f"{name} has a tokenizer or a chat template of its own, by which no job can learn.", HINT)


def _where(source: Source, workspace: Workspace) -> Where:
    """The narrowest choice of layers that has all of the adapter's."""
    folder = model_folder(str(source.origin["base_model"]), workspace.models)
    if folder is None:
        raise UserError(f"{source.origin['base_model']}, the base model of {source.name}, is not here.", "Fetch it.")
    try:
        names = names_of(read_config(folder))
    except UserError:  # which of its layers are which is not known here
        return "all-linear"
    choices: dict[Where, tuple[str, ...]] = {
        "q_v": (names.query, names.value),
        "attention": (names.query, names.key, names.value, names.output),
    }
    changed = source.shapes()
    return next(
        (where for where, endings in choices.items() if all(module.endswith(endings) for module in changed)),
        "all-linear",
    )


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    config = read_json(folder / "tokenizer_config.json") or {}
    return file.read_text(encoding="utf-8") if file.is_file() else str(config.get("chat_template") or "")


def _vocabulary(folder: Path) -> Any:
    file = read_json(folder / "tokenizer.json") or {}
    return file.get("model", {}).get("vocab")
