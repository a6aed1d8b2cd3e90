"""Rules that give an answer a number from 0 to 1: what a model that writes answers itself can be rewarded for."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from studio.data.chat_template import Sequence
from studio.data.examples import Example
from studio.errors import UserError
from studio.methods.options import Options

Rows = list[dict[str, Any]]
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")
FENCED = re.compile(r"^```[a-z]*\n(.*?)\n?```$", re.DOTALL)


class Rule(BaseModel):
    """`score(completion, answer)`: how well a written answer does; `answer` is the data's, empty when it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def name(self) -> str:
        """What its figures are called."""
        return type(self).__name__.lower()

    def score(self, completion: str, answer: str) -> float:
        """A number from 0 to 1."""
        raise NotImplementedError


class Length(Rule):
    """Full marks at `words` words, none at twice as many or at none at all."""

    words: int

    def score(self, completion: str, answer: str) -> float:
        return max(0.0, 1 - abs(len(completion.split()) - self.words) / self.words)


class Contains(Rule):
    """The share of the words or phrases that stand in the answer, in any case."""

    phrases: tuple[str, ...]

    def score(self, completion: str, answer: str) -> float:
        text = completion.casefold()
        return sum(phrase.casefold() in text for phrase in self.phrases) / len(self.phrases)


class Format(Rule):
    """Whether the whole answer has a form, given as a regular expression; a dot stands for line ends too."""

    pattern: str

    def score(self, completion: str, answer: str) -> float:
        return float(re.fullmatch(self.pattern, completion.strip(), re.DOTALL) is not None)


class Answer(Rule):
    """Whether it says what the data says: word for word, somewhere in the text, or by its last number."""

    how: Literal["equals", "contains", "number"]

    def score(self, completion: str, answer: str) -> float:
        written, wanted = completion.strip().casefold(), answer.strip().casefold()
        if not wanted:
            return 0.0
        if self.how == "contains":
            return float(wanted in written)
        if self.how == "number":
            return float((found := _last_number(written)) is not None and found == _last_number(wanted))
        return float(written == wanted)


class Json(Rule):
    """Whether the answer is JSON, alone or in one fenced block."""

    def score(self, completion: str, answer: str) -> float:
        text = completion.strip()
        fenced = FENCED.match(text)
        try:
            json.loads(fenced.group(1) if fenced else text)
        except (ValueError, RecursionError):
            return 0.0
        return 1.0


class RewardedOptions(Options):
    """The options of every objective that lets the model write answers and learns from their rewards."""

    reward_model: str = Field(
        default="",
        max_length=80,
        title="Reward model",
        description="A finished reward-model job on the same base model; its number is added to what the rules give.",
    )
    reward_words: int = Field(
        default=0,
        ge=0,
        le=10_000,
        title="Reward: length",
        description="Reward answers of about this many words: 1 at just so many, 0 at twice as many. 0: no such rule.",
    )
    reward_contains: str = Field(
        default="",
        max_length=2000,
        title="Reward: phrases",
        description="Reward answers that hold these words or phrases, set apart by commas. Empty: no such rule.",
    )
    reward_format: str = Field(
        default="",
        max_length=500,
        title="Reward: form",
        description="Reward answers that as a whole match this regular expression. Empty: no such rule.",
    )
    reward_answer: Literal["off", "equals", "contains", "number"] = Field(
        default="off",
        title="Reward: right answer",
        description="Reward what the data's answer says: the same text (equals), that text within a longer one "
        "(contains), or the same last number (number).",
    )
    reward_json: bool = Field(
        default=False,
        title="Reward: JSON",
        description="Reward answers that are valid JSON, alone or in one code block.",
    )
    max_completion_length: int = Field(
        default=64,
        ge=1,
        le=32_768,
        title="Longest answer",
        description="Tokens that the model may write for an answer; time grows with it.",
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        le=2,
        title="Temperature",
        description="How freely the answers vary while learning. Below 0.7 there is little to choose between.",
    )

    @field_validator("reward_format")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from None
        return pattern

    def library_options(self) -> dict[str, Any]:
        """Without what only the studio reads."""
        return {name: value for name, value in super().library_options().items() if not name.startswith("reward_")}

    def rules(self) -> Iterator[Rule]:
        """The rules that are switched on."""
        phrases = tuple(part for part in (one.strip() for one in self.reward_contains.split(",")) if part)
        if self.reward_words:
            yield Length(words=self.reward_words)
        if phrases:
            yield Contains(phrases=phrases)
        if self.reward_format:
            yield Format(pattern=self.reward_format)
        if self.reward_answer != "off":
            yield Answer(how=self.reward_answer)
        if self.reward_json:
            yield Json()


def check_reward(spec: Any) -> None:
    """Raise UserError when nothing would be rewarded."""
    if not spec.objective.reward_model and not any(spec.objective.rules()):
        raise UserError(
            "Nothing is rewarded: there is no reward model and no rule.",
            "Choose a finished reward-model job, or set one of the rewards.",
        )


NO_ROOM = "leaves no room for the whole prompt"  # what max_length does to the examples that give no prompt


def prompts(sequences: list[Sequence], max_length: int) -> Rows:
    """One row: the tokens before the last answer. Of a pair both sequences have the same prompt."""
    labels = sequences[-1].labels
    end = max((i + 1 for i, label in enumerate(labels) if label >= 0), default=0)
    start = max((i + 1 for i, label in enumerate(labels[:end]) if label < 0), default=0)
    return [{"prompt": sequences[-1].input_ids[:start]}] if 0 < start <= max_length else []


def answer_of(example: Example) -> dict[str, Any]:
    """The data's own answer to the prompt, empty when it has none."""
    if "text" in example:
        return {"answer": ""}
    if "messages" in example:
        learned = [one for one in example["messages"] if one["role"] == "assistant" and one.get("weight") != 0]
        return {"answer": learned[-1]["content"] if learned else ""}
    last = example["chosen"] if "chosen" in example else example["completion"]
    return {"answer": last[-1]["content"] if last else ""}


def _last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "").rstrip(".")) if found else None
