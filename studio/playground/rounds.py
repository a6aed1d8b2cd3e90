"""A round of the arena, and the folder that keeps those which wait for a vote: a restart loses none of them."""

import re
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from studio.errors import UserError
from studio.playground.client import Settings
from studio.playground.votes import Contender, Prompt
from studio.workspace import read_json, write_json

MOST_KEPT = 500  # rounds; the oldest is forgotten
ROUND_ID = re.compile(r"[0-9a-f]{32}")
State = Literal["answering", "ready", "failed", "stopped", "voted"]


class Said(NamedTuple):
    """An answer so far, and how it ended ("stop", "length"; empty: not yet, or nobody said)."""

    text: str
    finish: str = ""


@dataclass(kw_only=True)
class Pairing:
    """What a round is about: one prompt, and the two who answer it in the order in which they are shown."""

    id: str
    voter: str
    prompt: Prompt
    dataset: str
    settings: Settings
    pair: tuple[Contender, Contender]
    answers: tuple[Said, Said] = (Said(""), Said(""))


KEPT: TypeAdapter[Pairing] = TypeAdapter(Pairing)


@dataclass(kw_only=True)
class Round(Pairing):
    """The same while it is answered and voted on. `work`: who answers; None in a round that was answered before."""

    looked: float = field(default_factory=time.monotonic)
    left: threading.Event = field(default_factory=threading.Event)
    voted: bool = False
    work: Future[None] | None = None

    def state(self) -> State:
        if self.voted:
            return "voted"
        if self.work is None:
            return "ready"
        if not self.work.done():
            return "answering"
        if self.work.exception() is not None:
            return "failed"
        return "stopped" if self.left.is_set() else "ready"


class RoundFolder:
    """Rounds whose answers are whole and that have no vote yet: one JSON file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, one: Round) -> None:
        """Write a round down; of more than MOST_KEPT the oldest go. Raises UserError when the disk is full."""
        told = {name: getattr(one, name) for name in Pairing.__dataclass_fields__}
        try:
            write_json(self._file(one.id), KEPT.dump_python(Pairing(**told), mode="json"))
        except OSError as error:
            raise UserError(f"The round could not be kept: {error.strerror}.", "Free some disk space.") from None
        newest_first = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in newest_first[MOST_KEPT:]:
            file.unlink(missing_ok=True)

    def find(self, round_id: str) -> Round | None:
        """A round that was kept; None for an id that none has, or a file that cannot be read."""
        if not ROUND_ID.fullmatch(round_id):
            return None
        try:
            value = read_json(self._file(round_id))
            return None if value is None else Round(**vars(KEPT.validate_python(value)))
        except (ValidationError, ValueError):
            return None  # damaged: the voter takes the next prompt

    def drop(self, round_id: str) -> None:
        """Forget a round, if it was kept."""
        self._file(round_id).unlink(missing_ok=True)

    def _file(self, round_id: str) -> Path:
        return self._folder / f"{round_id}.json"
