"""Examples as Axolotl's strategies read them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.data.chat_template import ChatTokenizer, render_example
from studio.data.examples import Example
from studio.errors import UserError
from studio.jobs.code import INSTEAD
from studio.jobs.spec import TrainSpec

Row = dict[str, Any]


def axolotl_rows(examples: list[Example], spec: TrainSpec, base: Path) -> Iterator[Row]:
    """One row an example. Raises UserError for what Axolotl's strategy would read in another way."""
    chat = ChatTokenizer(base, spec.chat_template) if spec.objective.name == "kto" else None
    for example in examples:
        yield {"sft": _sft, "dpo": _dpo, "orpo": _orpo, "kto": _kto}[spec.objective.name](dict(example), chat)


def _sft(example: Row, chat: Any) -> Row:
    if "text" in example:
        raise UserError("Axolotl reads raw text as `pretraining_dataset`, in its own way.", INSTEAD)
    tools = {"tools": example["tools"]} if "tools" in example else {}
    if "messages" in example:
        messages = [
            {**message, "train": message["role"] == "assistant" and message.get("weight") != 0}
            for message in example["messages"]
        ]
    else:
        asked = [{**message, "train": False} for message in example["prompt"]]
        messages = asked + [{**message, "train": message["role"] == "assistant"} for message in example["completion"]]
    for message in messages:
        message.pop("weight", None)
    return {"messages": messages, **tools}


def _dpo(example: Row, chat: Any) -> Row:
    answers = {side: _only(example[side]) for side in ("chosen", "rejected")}
    return {"messages": example["prompt"], **answers}


def _orpo(example: Row, chat: Any) -> Row:
    prompt = list(example["prompt"])
    system = {"system": prompt.pop(0)["content"]} if prompt and prompt[0]["role"] == "system" else {}
    if [message["role"] for message in prompt] != ["user", "assistant"] * (len(prompt) // 2) + ["user"]:
        raise UserError("Axolotl's ORPO reads turns of user and assistant alone.", INSTEAD)
    return {**system, **{side: [*prompt, _only(example[side])] for side in ("chosen", "rejected")}}


def _kto(example: Row, chat: Any) -> Row:
    """As text, as the chat template writes it: Axolotl has no strategy with messages for KTO."""
    [rendered] = render_example(example, chat)  # type: ignore[arg-type]
    [(start, end)] = rendered.learned
    return {"prompt": rendered.text[:start], "completion": rendered.text[start:end], "label": example["label"]}


def _only(answer: list[Row]) -> Row:
    if len(answer) != 1 or set(answer[0]) - {"role", "content"}:
        raise UserError("Axolotl reads one plain message as an answer; here are several, or tool calls.", INSTEAD)
    return answer[0]
