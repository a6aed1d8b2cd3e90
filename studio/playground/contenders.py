"""Who may answer in the arena: a base model or what a job made of it, with hashes of the weights that answer."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from studio import workspace as names
from studio.base_models import STARTER, fingerprint, model_folder
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.client import BASE, Target, chat_target
from studio.playground.votes import Contender

MOST = 12  # at once: a round shows two of them, and 12 have 66 pairs


def contender_of(studio: Studio, choice: str, name: str) -> Contender:
    """A choice of the menu with what identifies its weights now. Raises UserError when it cannot answer."""
    target = chat_target(studio.store, studio.workspace, choice)
    base = model_folder(target.base_model, studio.workspace.models, studio.model_roots)
    adapter = None if target.model == BASE else studio.workspace.adapter_folder(choice)
    return Contender(
        choice=choice,
        name=name,
        base_model=base_name(studio, choice, target),
        base_fingerprint=_fingerprint(base, _age(base)) if base is not None else "",
        adapter_sha256=_hash(adapter, _age(adapter)) if adapter is not None else "",
    )


def base_name(studio: Studio, choice: str, target: Target) -> str:
    """The base model that a choice answers on, as jobs name it: also for a job that made a whole model of it."""
    own = target.model == BASE and not choice.startswith(f"{BASE}:")
    return studio.store.view(choice.partition("@")[0]).spec.base_model if own else target.base_model


def base_title(name: str) -> str:
    """A base model as people call it."""
    return STARTER if name == "starter" else name


def choose(studio: Studio, choices: Iterable[str], known: dict[str, str]) -> list[Contender]:
    """The contenders of a round, all of them in `known` (choice → name). Raises UserError for too few or too many."""
    wanted = list(dict.fromkeys(choices))
    for choice in wanted:
        if choice not in known:
            raise UserError(f"{choice[:80]!r} cannot answer.", "Choose from the list.")
    if not 2 <= len(wanted) <= MOST:
        raise UserError("A round needs two that can answer.", f"Choose from two to {MOST}.")
    return [contender_of(studio, choice, known[choice]) for choice in wanted]


def _age(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the weights: when they change, so does the hash."""
    files = sorted(folder.glob("*.safetensors")) if folder is not None else []
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


@lru_cache(maxsize=64)
def _fingerprint(folder: Path, age: tuple[tuple[str, int, int], ...]) -> str:
    return fingerprint(folder)


@lru_cache(maxsize=256)
def _hash(folder: Path, age: tuple[tuple[str, int, int], ...]) -> str:
    """SHA-256 of an adapter's weights, files in the order of their names. Raises UserError when there are none."""
    if not age:
        raise UserError(f"The adapter in {folder.parent.name}/{names.ADAPTER} has no weights.", "Choose another one.")
    digest = hashlib.sha256()
    for file, _, _ in age:
        with (folder / file).open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
