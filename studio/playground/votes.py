"""Every vote as one line that stays: what was asked, both answers, who gave them, who preferred which, and when."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from studio.errors import UserError

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
Outcome = Literal["left", "right", "tie", "both_bad"]
LONGEST_NAME, LONGEST_TEXT, LONGEST_FINISH = 40, 100_000, 40  # characters
CUT = ("length", "stopped")  # how an answer ended that is not whole: at max_tokens, or because somebody stopped it
Prompt = list[dict[str, Any]]
"""The messages before the answer, the last of them the user's."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contender(_Line):
    """Who answered: "base:NAME", a job or an adapter; the hashes say which weights it had when it did."""

    choice: str
    name: str
    base_model: str
    base_fingerprint: str = ""
    adapter_sha256: str = ""

    @property
    def key(self) -> str:
        """The same for the same weights: an adapter that was trained on is another contender."""
        return f"{self.choice}#{(self.adapter_sha256 or self.base_fingerprint)[:12]}"


class Shown(_Line):
    """One of the two answers, and what the voter made of it (empty: nothing).

    `finish`: what the server said about its end ("stop", "length"); empty when it said nothing, or before that was
    kept.
    """

    contender: Contender
    answer: str
    finish: str = Field(default="", max_length=LONGEST_FINISH)
    rewritten: str = Field(default="", max_length=LONGEST_TEXT)


class _Cast(_Line):
    """What every line has: the round it belongs to, who wrote it and when (ISO 8601, UTC)."""

    round: str
    voter: str = Field(min_length=1, max_length=LONGEST_NAME)
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))


class Vote(_Cast):
    """`left` and `right` as they were shown; `dataset` is where the prompt came from, empty when it was typed."""

    kind: Literal["vote"] = "vote"
    prompt: Prompt
    dataset: str = ""
    settings: dict[str, Any]
    left: Shown
    right: Shown
    outcome: Outcome

    def shown(self, side: Side) -> Shown:
        return self.left if side == "left" else self.right


class Retraction(_Cast):
    """The vote of a round does not count any more."""

    kind: Literal["retraction"] = "retraction"


class Rewriting(_Cast):
    """Another text for one of a round's answers; the last one counts, an empty one takes it back."""

    kind: Literal["rewriting"] = "rewriting"
    side: Side
    text: str = Field(max_length=LONGEST_TEXT)


class Thumb(_Cast):
    """A single answer is good or bad; `good` None takes that back. In a chat, `round` names the answer."""

    kind: Literal["thumb"] = "thumb"
    side: Side | Literal[""] = ""
    prompt: Prompt
    dataset: str = ""
    settings: dict[str, Any]
    shown: Shown
    good: bool | None


Line = Vote | Retraction | Rewriting | Thumb
LINES: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


@dataclass
class Ballot:
    """A vote with what came after it."""

    vote: Vote
    retracted: bool = False
    rewritten: dict[Side, str] = field(default_factory=dict)

    def text(self, side: Side) -> str:
        """The answer as it should have been: what the voter wrote in its place, else the answer."""
        shown = self.vote.shown(side)
        return self.rewritten.get(side, shown.rewritten) or shown.answer

    def is_rewritten(self, side: Side) -> bool:
        """Whether the voter wrote something else in an answer's place."""
        return self.text(side).strip() != self.vote.shown(side).answer.strip()


@dataclass
class Counted:
    """All lines read: ballots by round in the order of their votes, thumbs by (round, side, voter), and ruins."""

    ballots: dict[str, Ballot] = field(default_factory=dict)
    thumbs: dict[tuple[str, str, str], Thumb] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, line: Line) -> None:
        """Take a line in. One about no vote, or another voter's, changes nothing; of two votes the first counts."""
        if isinstance(line, Vote):
            self.ballots.setdefault(line.round, Ballot(line))
        elif isinstance(line, Thumb):
            self.thumbs[line.round, line.side, line.voter] = line
        else:
            ballot = self.ballots.get(line.round)
            if ballot is None or ballot.vote.voter != line.voter:
                return
            if isinstance(line, Retraction):
                ballot.retracted = True
            else:
                ballot.rewritten[line.side] = line.text


class VoteStore:
    """The votes of one workspace, in a file that only grows; safe to share between threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._counted, self._seen = Counted(), (-1, -1)

    def read(self) -> Counted:
        """All that was cast. A torn last line is passed over; others that cannot be read are counted as unreadable."""
        with self._lock:
            if not self._file.is_file():
                return Counted()
            state = self._file.stat()
            if self._seen != (state.st_size, state.st_mtime_ns):
                self._counted, self._seen = count(self._lines()), (state.st_size, state.st_mtime_ns)
            return self._counted

    def cast(self, vote: Vote) -> None:
        """Keep a vote. Raises UserError when its round has one."""
        with self._lock:
            if vote.round in self.read().ballots:
                raise UserError("This round has a vote already.", "Take the next prompt.")
            self._append(vote)

    def retract(self, round_id: str, voter: str) -> None:
        """Take a vote back. Raises UserError when it is not this voter's, or was taken back."""
        with self._lock:
            self._own(round_id, voter)
            self._append(Retraction(round=round_id, voter=voter))

    def rewrite(self, round_id: str, voter: str, side: Side, text: str) -> None:
        """Keep another text for an answer of a round; an empty one takes that back. Raises UserError."""
        with self._lock:
            self._own(round_id, voter)
            self._append(Rewriting(round=round_id, voter=voter, side=side, text=text.strip()))

    def rate(self, thumb: Thumb) -> None:
        """Keep a thumb for a single answer, in place of this voter's earlier one."""
        self._append(thumb)

    def rate_shown(self, round_id: str, voter: str, side: Side, good: bool | None) -> None:
        """Keep a thumb for an answer of a round that has this voter's vote. Raises UserError.

        A thumb is for what the contender wrote: once that was rewritten it can only be taken back.
        """
        ballot = self._own(round_id, voter)
        if good is not None and ballot.is_rewritten(side):
            raise UserError("That answer was rewritten: a thumb would be for the one before.", "Rate another answer.")
        vote = ballot.vote
        same = {"prompt": vote.prompt, "dataset": vote.dataset, "settings": vote.settings}
        self.rate(Thumb(round=round_id, voter=voter, side=side, shown=vote.shown(side), good=good, **same))

    def _own(self, round_id: str, voter: str) -> Ballot:
        ballot = self.read().ballots.get(round_id)
        if ballot is None or ballot.vote.voter != voter:
            raise UserError("There is no vote of yours in that round.", "Only the voter can change a vote.")
        if ballot.retracted:
            raise UserError("That vote was taken back.", "Take the next prompt.")
        return ballot

    def _lines(self) -> list[bytes]:
        return self._file.read_bytes().split(b"\n")[:-1]  # what stands behind the last end of line is torn

    def _append(self, line: Line) -> None:
        text = json.dumps(line.model_dump(), ensure_ascii=False).encode() + b"\n"
        with self._lock, self._file.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the chat's thumbs may come from another store of the same file
            if file.tell() and _last_byte(file.fileno()) != b"\n":
                text = b"\n" + text  # a line that was torn by a crash must not spoil this one
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)


def count(lines: list[bytes]) -> Counted:
    """What the lines of a file come to."""
    counted = Counted()
    for line in lines:
        try:
            counted.add(LINES.validate_json(line))
        except ValidationError:
            counted.unreadable += 1
    return counted


def voter_name(given: str) -> str:
    """A voter's label, cleaned. Raises UserError when nothing is left of it, or it is too long."""
    name = " ".join("".join(one for one in given if one.isprintable()).split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise UserError("A voter needs a name.", f"Write one of at most {LONGEST_NAME} characters.")
    return name


def counting(counted: Counted) -> Iterator[Ballot]:
    """The ballots that were not taken back."""
    return (ballot for ballot in counted.ballots.values() if not ballot.retracted)
