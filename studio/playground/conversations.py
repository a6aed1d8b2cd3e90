"""Conversations with branches, and several of them beside each other: what a column shows and what is saved."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from studio.data.examples import Message
from studio.errors import UserError
from studio.playground.client import Chunk, Settings
from studio.playground.votes import CUT

MOST_COLUMNS = 7  # the base and six adapters
MOST_TURNS = 4000  # in all branches of one conversation
LONGEST_TEXT = 400_000  # characters of one turn
MOST_NOTES, LONGEST_NOTE = 10, 500  # sentences, characters
NONE = -1  # the parent of a first turn; the leaf of an empty conversation

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Note = Annotated[str, Field(max_length=LONGEST_NOTE)]


class Strict(BaseModel):
    """Comes back from a browser or a file, so that every field is checked."""

    model_config = ConfigDict(extra="forbid")


class Facts(Strict):
    """What is known about one answer; None is what the server did not say.

    `scores`: choice → (natural logarithm of the answer's probability, tokens). `notes`: what the server would have a
    user know of who answered, in sentences.
    """

    choice: str = Field(default="", max_length=1000)
    finish: str | None = Field(default=None, max_length=40)
    tokens: int | None = None
    prompt_tokens: int | None = None
    context: int | None = None
    seconds: float | None = None
    first_token_seconds: float | None = None
    cached_tokens: int | None = None
    shared_batch: bool | None = None
    scores: dict[str, tuple[float, int]] = Field(default_factory=dict, max_length=50)
    notes: list[Note] = Field(default_factory=list, max_length=MOST_NOTES)


class Turn(Strict):
    """One message of a tree: `parent` is the position of the turn before it."""

    parent: int
    role: Literal["user", "assistant"]
    content: Text
    facts: Facts | None = None


class Conversation(Strict):
    """A tree of turns, of which the path to `leaf` is shown."""

    turns: list[Turn] = Field(default_factory=list, max_length=MOST_TURNS)
    leaf: int = NONE

    @model_validator(mode="after")
    def _grows_downwards(self) -> "Conversation":
        if not NONE <= self.leaf < len(self.turns):
            raise ValueError("the leaf is none of the turns")
        for position, turn in enumerate(self.turns):
            if not NONE <= turn.parent < position:
                raise ValueError("a turn must come behind its parent")
        return self

    def path(self) -> list[int]:
        """The positions of the turns that are shown, the first one first."""
        found, at = [], self.leaf
        while at != NONE:
            found.append(at)
            at = self.turns[at].parent
        return found[::-1]

    def shown(self) -> list[Turn]:
        """The turns that are shown."""
        return [self.turns[position] for position in self.path()]

    def messages(self, system: str = "") -> list[Message]:
        """What is shown, as a model reads it: behind a system prompt unless that is blank."""
        first: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
        return first + [{"role": turn.role, "content": turn.content} for turn in self.shown()]

    def add(self, role: Literal["user", "assistant"], content: str, *, parent: int | None = None) -> int:
        """Append a turn behind `parent` (the leaf when None) and show it; returns its position."""
        if len(self.turns) >= MOST_TURNS or len(content) > LONGEST_TEXT:
            raise UserError("The conversation is too long.", "Start a new one.")
        self.turns.append(Turn(parent=self.leaf if parent is None else parent, role=role, content=content))
        self.leaf = len(self.turns) - 1
        return self.leaf

    def siblings(self, position: int) -> list[int]:
        """The turns that were tried in one's place, itself among them, the oldest first."""
        parent = self.turns[position].parent
        return [other for other, turn in enumerate(self.turns) if turn.parent == parent]

    def choose(self, position: int) -> None:
        """Show the branch through a turn, down to where it was continued last. Raises UserError."""
        if not 0 <= position < len(self.turns):
            raise UserError("There is no such turn.", "Look at the conversation again.")
        self.leaf = position
        for other, turn in enumerate(self.turns):  # children come behind their parents
            if turn.parent == self.leaf:
                self.leaf = max(later for later in self.siblings(other))

    def begin_answer(self, choice: str) -> None:
        """An answer that is still empty, behind the question that is shown last."""
        self.turns[self.add("assistant", "")].facts = Facts(choice=choice)

    def end_answer(self, facts: Facts, *, keep: bool = False) -> None:
        """Note how the answer that is shown last ended.

        One without text goes, unless `keep`: its question is open then, or shows the answer that it had before.
        """
        answer = self.answer()
        if answer is None:
            return
        answer.facts = facts
        if not answer.content and not keep and self.leaf == len(self.turns) - 1:
            self.turns.pop()
            self.choose(answer.parent)

    def is_open(self) -> bool:
        """Whether the conversation ends with a question that nobody has answered."""
        return self.leaf != NONE and self.turns[self.leaf].role == "user"

    def pass_over(self) -> None:
        """What is asked next stands in the place of a question that nobody has answered, which stays as a branch.

        Models are not asked two questions at once: what one refused, it would refuse again with the next.
        """
        if self.is_open():
            self.leaf = self.turns[self.leaf].parent

    def withdraw(self) -> str:
        """Take back the question that nobody has answered; returns it, "" when there is none."""
        if not self.is_open():
            return ""
        question = self.leaf
        content = self.turns[question].content
        self.pass_over()
        if question == len(self.turns) - 1:
            self.turns.pop()
        return content

    def question(self) -> int | None:
        """The position of the last question that is shown."""
        return next((at for at in reversed(self.path()) if self.turns[at].role == "user"), None)

    def answer(self) -> Turn | None:
        """The answer that the conversation ends with."""
        return self.turns[self.leaf] if self.leaf != NONE and self.turns[self.leaf].role == "assistant" else None


class Drawn(Strict):
    """How one column answers."""

    system: Text = ""
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1, le=8192)

    @property
    def settings(self) -> Settings:
        return Settings(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class Column(Strict):
    """One column: who answers, how, and what was said."""

    choice: str = Field(default="base:starter", max_length=1000)
    drawn: Drawn = Field(default_factory=Drawn)
    conversation: Conversation = Field(default_factory=Conversation)


class Comparison(Strict):
    """Columns beside each other; one column is a plain conversation. `shown` of them are on the page.

    `revision`: how often it has been saved, as far as the page knows; None where a link brought it, so that it is
    another's.
    """

    id: str = Field(default="", max_length=80)
    name: str = Field(default="", max_length=120)
    revision: int | None = Field(default=0, ge=0)
    separate: bool = False
    shown: int = Field(default=1, ge=1, le=MOST_COLUMNS)
    columns: list[Column] = Field(default_factory=lambda: [Column()], min_length=1, max_length=MOST_COLUMNS)

    @model_validator(mode="after")
    def _has_what_it_shows(self) -> "Comparison":
        self.columns += [Column() for _ in range(self.shown - len(self.columns))]
        return self

    @property
    def visible(self) -> list[Column]:
        return self.columns[: self.shown]


def read_comparison(value: Any) -> Comparison:
    """A comparison as a browser sends it; an empty one for None. Raises UserError when it is none."""
    if not value:
        return Comparison()
    try:
        return Comparison.model_validate(value)
    except ValidationError:
        raise UserError("The conversation on the page cannot be read.", "Start a new conversation.") from None


def facts_of(choice: str, last: Chunk | None) -> Facts:
    """What the last chunks of an answer told, without what is not of the type that it should be."""
    told: dict[str, Any] = {"choice": choice}
    if last is not None:
        usage, studio = last.usage or {}, last.studio or {}
        told["finish"] = last.finish
        told |= {"tokens": _whole(usage, "completion_tokens"), "prompt_tokens": _whole(usage, "prompt_tokens")}
        told |= {"context": _whole(studio, "context"), "cached_tokens": _whole(studio, "cached_tokens")}
        told |= {key: _real(studio, key) for key in ("seconds", "first_token_seconds")}
        told["shared_batch"] = studio["shared_batch"] if isinstance(studio.get("shared_batch"), bool) else None
        notes = studio["notes"] if isinstance(studio.get("notes"), list) else []
        told["notes"] = [note[:LONGEST_NOTE] for note in notes if isinstance(note, str)][:MOST_NOTES]
    return Facts(**told)


def _real(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(told: Mapping[str, Any], key: str) -> int | None:
    value = _real(told, key)
    return None if value is None else int(value)


def export_rows(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """Rows of a `messages` data set: what each column shows up to its last whole answer; columns without one are left
    out. An answer before it that was cut or stopped is read and not learned."""
    rows = []
    for comparison in comparisons:
        for column in comparison.visible:
            messages = column.conversation.messages(column.drawn.system)
            for message, turn in zip(reversed(messages), reversed(column.conversation.shown()), strict=False):
                if turn.facts is not None and turn.facts.finish in CUT:
                    message["weight"] = 0
            while messages and (messages[-1]["role"] != "assistant" or "weight" in messages[-1]):
                messages.pop()
            if messages:
                rows.append({"messages": messages})
    return rows
