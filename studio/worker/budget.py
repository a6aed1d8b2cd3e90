"""How much a server may keep of adapters and conversations: its own limit, less where memory is promised to others."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from studio import hardware
from studio import workspace as names
from studio.workspace import read_json


@dataclass(frozen=True)
class Budget:
    """Bytes to keep at most. `left`: bytes that may still be taken of the memory now; None: nobody else wants any."""

    limit: int
    left: Callable[[], int] | None = None

    @property
    def has_left(self) -> bool:
        """Whether there is memory that nobody else was promised."""
        return self.left is None or self.left() > 0

    def most(self, held: int) -> int:
        """How much may be kept, of which `held` bytes are kept already."""
        return self.limit if self.left is None else min(self.limit, held + self.left())


class Leftover:
    """What is free, without what the studio has promised to the jobs beside this server (`promised.json`)."""

    def __init__(self, folder: Path, where: torch.device) -> None:
        self._file, self._where = folder / names.PROMISED, where

    def __call__(self) -> int:
        """Bytes; 0 where others want all that is free."""
        return max(0, free_memory(self._where) - int((read_json(self._file) or {}).get("bytes", 0)))


def free_memory(where: torch.device) -> int:
    """Bytes that this process can still take of the card, or of main memory where there is none."""
    if where.type != "cuda":
        return hardware.available_memory()
    unused = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)  # taken, and free to be used again
    return torch.cuda.mem_get_info(where)[0] + unused


def give_back(where: torch.device) -> None:
    """Return what was freed to the card, or to the system: a worker's heap keeps it otherwise (studio/settings.py)."""
    if where.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
