"""Example → the text and tokens that the model will see, and which of them are learned.

The preview and the training both call `tokenize`, so what is shown is what is trained.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.data.examples import Example, Message
from studio.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IGNORED = -100  # the label of a token that is not learned: torch's cross entropy skips it

# For models that bring no chat template (base models). Saved with the adapter, so that chat uses it as well.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'].capitalize() + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Sequence:
    """One training sequence: token ids, and for each the same id when it is learned, else -100."""

    input_ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        """How many tokens are learned."""
        return sum(label != IGNORED for label in self.labels)

    def cut(self, max_length: int) -> "Sequence":
        """The first `max_length` tokens: TRL's keep_start truncation."""
        return Sequence(self.input_ids[:max_length], self.labels[:max_length])

    def parts(self) -> tuple[list[int], list[int]]:
        """(not learned, learned): the prompt's ids and, from the first learned token on, the answer's."""
        start = next((i for i, label in enumerate(self.labels) if label != IGNORED), len(self.labels))
        return self.input_ids[:start], self.input_ids[start:]


class ChatTokenizer:
    """A model folder's tokenizer and chat template, without torch.

    `template` "model" uses the model's own chat template, "plain" the one above. Raises UserError when the
    folder has no tokenizer.json or no chat template of its own.
    """

    def __init__(self, folder: Path, template: str = "model") -> None:
        self.folder = folder
        self.config: dict[str, Any] = _read_optional_json(folder / "tokenizer_config.json") or {}
        if not (folder / "tokenizer.json").is_file():
            raise UserError(
                f"{folder.name} has no tokenizer.json.", "Choose a model with a fast tokenizer (nearly all have)."
            )
        self.template = PLAIN_TEMPLATE if template == "plain" else self._own_template()

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token, …: what a chat template may name."""
        named = {key: value for key, value in self.config.items() if key.endswith("_token")}
        texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
        return {key: value for key, value in texts.items() if isinstance(value, str)}

    def render(self, messages: list[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as text. Raises UserError when the template refuses it."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, _ = render_jinja_template(
                conversations=[messages],
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
            )
        except TemplateError as error:
            raise UserError(
                f"The model's chat template refuses a conversation: {error}.",
                "Change the conversation's roles or their order, or choose the plain template.",
            ) from None
        return str(texts[0])

    def encode(self, text: str, learned: list[tuple[int, int]]) -> Sequence:
        """Token ids of a rendered text; tokens that begin in one of the `learned` character spans are labels."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        labels = [IGNORED] * len(encoding.ids)
        spans = iter(learned)
        span = next(spans, None)
        for index, (start, _end) in enumerate(encoding.offsets):
            while span is not None and start >= span[1]:
                span = next(spans, None)
            if span is not None and start >= span[0]:
                labels[index] = encoding.ids[index]
        return Sequence(encoding.ids, labels)

    def encode_text(self, text: str) -> Sequence:
        """Raw text with the tokenizer's own special tokens and an end of text; all of it is learned."""
        ids = self.tokenizer.encode(text).ids
        end = self.tokenizer.token_to_id(self.special_tokens.get("eos_token", ""))
        if end is not None and (not ids or ids[-1] != end):
            ids = [*ids, end]
        return Sequence(ids, list(ids))

    def _own_template(self) -> str:
        file = self.folder / "chat_template.jinja"
        template = file.read_text(encoding="utf-8") if file.is_file() else self.config.get("chat_template")
        if isinstance(template, list):  # several, by name: the one called default is for conversations
            named = {entry.get("name"): entry.get("template") for entry in template}
            template = named.get("default")
        if not isinstance(template, str) or not template:
            raise UserError(
                f"{self.folder.name} has no chat template (it is a base model).",
                "Set chat_template to plain, or choose an instruct model.",
            )
        return template


def tokenize(example: Example, tokenizer: ChatTokenizer) -> list[Sequence]:
    """The sequences that an example is trained as, uncut.

    text → one, all learned. prompt and completion → one, the completion learned. messages → one with every
    assistant turn learned; where the template rewrites earlier turns (thinking stripped), one a turn instead.
    preference → two: chosen, rejected.
    """
    if "text" in example:
        return [tokenizer.encode_text(example["text"])]
    if "chosen" in example:
        answers = (example["chosen"], example["rejected"])
        return [_answer(example["prompt"], answer, tokenizer) for answer in answers]
    if "completion" in example:
        return [_answer(example["prompt"], example["completion"], tokenizer)]
    return _conversation(example["messages"], tokenizer)


def _answer(prompt: list[Message], answer: list[Message], tokenizer: ChatTokenizer) -> Sequence:
    text = tokenizer.render(prompt + answer)
    start = _common_prefix(tokenizer.render(prompt, add_generation_prompt=True), text)
    return tokenizer.encode(text, [(start, len(text))])


def _conversation(messages: list[Message], tokenizer: ChatTokenizer) -> list[Sequence]:
    turns = list(_assistant_turns(messages, tokenizer))
    whole = tokenizer.render(messages)
    if all(whole.startswith(text) for _, text in turns):
        return [tokenizer.encode(whole, [(start, len(text)) for start, text in turns])]
    return [tokenizer.encode(text, [(start, len(text))]) for start, text in turns]


def _assistant_turns(messages: list[Message], tokenizer: ChatTokenizer) -> Iterator[tuple[int, str]]:
    """(where the answer begins, the text up to its end) for each assistant turn."""
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            text = tokenizer.render(messages[: index + 1])
            prompt = tokenizer.render(messages[:index], add_generation_prompt=True) if index else ""
            yield _common_prefix(prompt, text), text


def _common_prefix(first: str, second: str) -> int:
    if second.startswith(first):
        return len(first)
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def _read_optional_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
