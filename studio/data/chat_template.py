"""Example → the text and tokens that the model will see, and which of them are learned.

The preview and the training both call `tokenize`, so what is shown is what is trained.
"""

import json
import re
from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.data.examples import Example, Message, Tool
from studio.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

IGNORED = -100  # the label of a token that is not learned: torch's cross entropy skips it
RAISED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)  # by templates
TEXTS_AT_ONCE = 256  # the tokenizer keeps some 100 bytes a token until a batch is done

# For models that bring no chat template (base models). Saved with the adapter, so that chat uses it as well.
PLAIN_TEMPLATE = (
    "{% if tools %}{{ '### Tools:\\n' }}"
    "{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}{{ '\\n' }}{% endif %}"
    "{% for message in messages %}{{ '### ' + message['role'].capitalize() + ':\\n' }}"
    "{% if message['reasoning_content'] %}"
    "{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n' }}{% endif %}"
    "{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<tool_call>' + call['function'] | tojson + '</tool_call>' }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\\n' }}{% endif %}"
)

# What a conversation may hold beside its texts, and how a template that has a place for it names it.
PLACES = {
    "tools": ("tool definitions", re.compile(r"\btools\b")),
    "tool_calls": ("tool calls", re.compile(r"\btool_calls\b")),
    "reasoning_content": ("reasoning texts", re.compile(r"\breasoning_content\b|\.thinking\b|\[['\"]thinking['\"]\]")),
}


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

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()  # some files switch these on; the trainer's collator pads, and `cut` truncates
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token, …: what a chat template may name."""
        named = {key: value for key, value in self.config.items() if key.endswith("_token")}
        texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
        return {key: value for key, value in texts.items() if isinstance(value, str)}

    @cached_property
    def lost(self) -> set[str]:
        """What the template has no place for and would leave out without a word: names of PLACES."""
        return {name for name, (_, spelled) in PLACES.items() if not spelled.search(self.template)}

    def render(
        self, messages: list[Message], *, tools: list[Tool] | None = None, add_generation_prompt: bool = False
    ) -> str:
        """The conversation as text. Raises UserError when the template refuses it."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, _ = render_jinja_template(
                conversations=[messages],
                tools=tools,
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
            )
        except (TemplateError, *RAISED) as error:
            raise UserError(
                f"The model's chat template refuses a conversation: {str(error) or type(error).__name__}.",
                "Change the conversation's roles or their order, or choose the plain template.",
            ) from None
        return str(texts[0])

    def encode(self, texts: Several["Rendered"]) -> list[Sequence]:
        """Token ids and labels of texts, many at once, which is quicker than one by one."""
        sequences: list[Sequence] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            templated = iter(self._encodings([one.text for one in some if not one.raw], add_special_tokens=False))
            raw = iter(self._encodings([one.text for one in some if one.raw], add_special_tokens=True))
            sequences += [
                self._ended(next(raw)) if one.raw else _labelled(next(templated), one.learned) for one in some
            ]
        return sequences

    def _encodings(self, texts: list[str], *, add_special_tokens: bool) -> list["Encoding"]:
        return self.tokenizer.encode_batch(texts, add_special_tokens=add_special_tokens) if texts else []

    def _ended(self, encoding: "Encoding") -> Sequence:
        """Raw text with the tokenizer's own special tokens and an end of text; all of it is learned."""
        ids = encoding.ids
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


@dataclass(frozen=True)
class Rendered:
    """A text as the model sees it, and the spans of its characters that are learned, in order.

    `raw` text brings no special tokens of a template: the tokenizer adds its own, and everything is learned.
    """

    text: str
    learned: tuple[tuple[int, int], ...] = ()
    raw: bool = False


def tokenize(example: Example, tokenizer: ChatTokenizer) -> list[Sequence]:
    """The sequences that an example is trained as, uncut.

    text → one, all learned. prompt and completion → one, the completion learned. messages → one with every
    assistant turn learned (but for those of weight 0); where the template rewrites earlier turns (thinking stripped),
    one a turn instead. preference → two: chosen, rejected. Raises UserError when the template refuses the example.
    """
    return tokenize_batch([example], tokenizer)[0]


def tokenize_batch(examples: Several[Example], tokenizer: ChatTokenizer) -> list[list[Sequence]]:
    """`tokenize` for several examples, quicker: some hundreds at once are best."""
    rendered = [render_example(example, tokenizer) for example in examples]
    sequences = iter(tokenizer.encode([one for some in rendered for one in some]))
    return [[next(sequences) for _ in some] for some in rendered]


def render_example(example: Example, tokenizer: ChatTokenizer) -> list[Rendered]:
    """The texts of an example's sequences: see `tokenize`."""
    if "text" in example:
        return [Rendered(example["text"], raw=True)]
    tools = example.get("tools")
    if "messages" in example:
        _require_places(example["messages"], tools, tokenizer)
        return _conversation(example["messages"], tools, tokenizer)
    answers = [example["chosen"], example["rejected"]] if "chosen" in example else [example["completion"]]
    prompt = example["prompt"]
    asked = tokenizer.render(prompt, tools=tools, add_generation_prompt=True)
    rendered = []
    for answer in answers:
        _require_places(prompt + answer, tools, tokenizer)
        text = tokenizer.render(prompt + answer, tools=tools)
        rendered.append(Rendered(text, ((_common_prefix(asked, text), len(text)),)))
    return rendered


def _require_places(messages: list[Message], tools: list[Tool] | None, tokenizer: ChatTokenizer) -> None:
    """Raise UserError when the template would leave out a part of the conversation without a word."""
    for name in tokenizer.lost:
        if tools if name == "tools" else any(message.get(name) for message in messages):
            raise UserError(
                f"The chat template of {tokenizer.folder.name} has no place for {PLACES[name][0]}: they would be lost.",
                "Choose a model whose template has one, or set chat_template to plain.",
            )


def _conversation(messages: list[Message], tools: list[Tool] | None, tokenizer: ChatTokenizer) -> list[Rendered]:
    whole = tokenizer.render(messages, tools=tools)
    turns = list(_assistant_turns(messages, tools, whole, tokenizer))
    if all(whole.startswith(text) for _, text in turns):
        return [Rendered(whole, tuple((start, len(text)) for start, text in turns))]
    return [Rendered(text, ((start, len(text)),)) for start, text in turns]


def _assistant_turns(
    messages: list[Message], tools: list[Tool] | None, whole: str, tokenizer: ChatTokenizer
) -> Iterator[tuple[int, str]]:
    """(where the answer begins, the text up to its end) for each assistant turn that is learned."""
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        last = index == len(messages) - 1
        text = whole if last else tokenizer.render(messages[: index + 1], tools=tools)
        if index:
            before = tokenizer.render(messages[:index], tools=tools, add_generation_prompt=True)
        else:  # nothing stands before it, and many templates refuse an empty conversation: compare with another text
            other: Message = {"role": "assistant", "content": "\0"}
            before = tokenizer.render([other], tools=tools)
        yield _common_prefix(before, text), text


def _labelled(encoding: "Encoding", learned: tuple[tuple[int, int], ...]) -> Sequence:
    """Ids and labels; a token that reaches over the start of a span is learned, as in TRL."""
    ids = encoding.ids
    labels = [IGNORED] * len(ids)
    for start, end in learned:
        first, after = _token_at(encoding, start), _token_at(encoding, end)
        reach = encoding.token_to_chars(after) if after < len(ids) else None
        if reach is not None and reach[0] < end:
            after += 1
        labels[first:after] = ids[first:after]
    return Sequence(ids, labels)


def _token_at(encoding: "Encoding", position: int) -> int:
    """The index of the token that holds a character, or of the next one where none does."""
    token = encoding.char_to_token(position)
    if token is None:
        ends = (index for index, (_, end) in enumerate(encoding.offsets) if end > position)
        token = next(ends, len(encoding.ids))
    return int(token)


def _common_prefix(first: str, second: str) -> int:
    if second.startswith(first):
        return len(first)
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def _read_optional_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
