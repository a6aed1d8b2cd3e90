"""What a browser may ask /api/arena to do: the bodies of its POST requests."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from studio.errors import UserError
from studio.playground.client import Settings
from studio.playground.contenders import MOST
from studio.playground.feedback_data import Kind
from studio.playground.votes import LONGEST_NAME, LONGEST_TEXT, Outcome, Side

LONGEST_PROMPT = 20_000  # characters
Choice = Annotated[str, Field(min_length=1, max_length=400)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Signed(_Body):
    """`voter` is the label that the browser goes by."""

    voter: str = Field(min_length=1, max_length=4 * LONGEST_NAME)


class RoundWish(Signed):
    """Two of these contenders answer `prompt`, or a prompt of `dataset` that none of them has learned from."""

    contenders: list[Choice] = Field(min_length=2, max_length=MOST)
    prompt: str = Field(default="", max_length=LONGEST_PROMPT)
    dataset: str = Field(default="", max_length=80)
    system: str = Field(default="", max_length=LONGEST_PROMPT)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, ge=0.05, le=1)
    max_tokens: int = Field(default=256, ge=1, le=2048)

    def settings(self) -> Settings:
        return Settings(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)

    def check(self) -> None:
        """Raise UserError unless there is one source of prompts."""
        if bool(self.prompt.strip()) == bool(self.dataset):
            raise UserError("There is no prompt.", "Type one, or choose a data set.")


class VoteWish(Signed):
    """A vote, with what the voter made of either answer."""

    outcome: Outcome
    rewritten: dict[Side, Annotated[str, Field(max_length=LONGEST_TEXT)]] = {}


class RewriteWish(Signed):
    """Another text for an answer; an empty one takes it back."""

    side: Side
    text: str = Field(max_length=LONGEST_TEXT)


class ThumbWish(Signed):
    """A thumb for one answer; null takes it back."""

    side: Side
    good: bool | None


class DatasetWish(_Body):
    """What kind of rows the votes shall become."""

    kind: Kind
