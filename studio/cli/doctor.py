"""What this machine has and what is missing."""

import shutil
import sys
from importlib import metadata
from typing import Any

from studio import hardware
from studio.base_models import STARTER_FOLDER
from studio.errors import UserError
from studio.settings import REPOSITORY, Settings
from studio.workspace import ORIGIN, Workspace

ENOUGH_DISK = 3e9


def examine(settings: Settings, packages: tuple[str, ...]) -> list[dict[str, Any]]:
    """One finding a line: check, ok, found (what is there, or what to do)."""
    return [
        _finding("Python", sys.version_info >= (3, 11), sys.version.split()[0]),
        *(_package(name) for name in packages),
        _processor(),
        *_cards(),
        *_workspace(settings),
    ]


def _finding(check: str, ok: bool, found: str) -> dict[str, Any]:
    return {"check": check, "ok": ok, "found": found}


def _package(name: str) -> dict[str, Any]:
    wanted = _pinned().get(name, "")
    try:
        found = metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        return _finding(name, False, "missing: run `make setup`")
    return _finding(name, found == wanted, found if found == wanted else f"{found}, tested is {wanted}")


def _pinned() -> dict[str, str]:
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _processor() -> dict[str, Any]:
    cpu = hardware.cpu()
    precision = "bfloat16 in hardware" if cpu.bf16 else "no bfloat16 in hardware: training uses float32"
    memory = hardware.available_memory() / 1e9
    return _finding("processor", True, f"{cpu.name}, {cpu.cores} cores, {memory:.1f} GB free; {precision}")


def _cards() -> list[dict[str, Any]]:
    cards = hardware.gpus()
    if not cards:
        return [_finding("graphics card", True, "no NVIDIA card: training runs on the processor")]
    return [_finding("graphics card", True, f"{card.name}, {card.total_bytes / 1024**3:.1f} GiB") for card in cards]


def _workspace(settings: Settings) -> list[dict[str, Any]]:
    try:
        workspace = Workspace(settings.workspace).prepare()
    except UserError as error:
        return [_finding("workspace", False, str(error))]
    free = shutil.disk_usage(workspace.root).free
    starter = workspace.models / STARTER_FOLDER / ORIGIN
    return [
        _finding("workspace", True, str(workspace.root)),
        _finding("disk", free > ENOUGH_DISK, f"{free / 1e9:.1f} GB free"),
        _finding(
            "starter model", starter.is_file(), "here" if starter.is_file() else "missing: `python -m studio fetch`"
        ),
    ]
