"""Preference pairs: chosen and rejected, with the prompt as text, messages or ShareGPT turns, or inside both."""

import re
from typing import Any

from studio.data.cells import Columns, Warn, text_of
from studio.data.conversation import check_answer, check_order, messages_of, prompt_of
from studio.data.examples import Example, Message, Row, RowError, assistant, user
from studio.data.formats.alpaca import question_of, turns_before
from studio.data.formats.contract import DatasetFormat
from studio.data.tool_calls import with_tools

DIALOGUE = re.compile(r"\n\n(Human|Assistant):")  # how Anthropic's HH-RLHF writes a conversation into one text


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    prompt = _prompt_of(row, at, warn)
    chosen, rejected = _answer_of(row, at["chosen"]), _answer_of(row, at["rejected"])
    prompt, chosen, rejected = _apart(prompt, chosen, rejected, at)
    for part, answer in (("chosen", chosen), ("rejected", rejected)):
        if not _is_answer(answer):
            check_answer(answer, at[part], before=prompt)
    if chosen == rejected:
        raise RowError(at["rejected"], "The chosen and the rejected answer are the same.", "Delete the row.")
    if "score_chosen" in at:
        _compare_scores(row, at, warn)
    return with_tools({"prompt": prompt, "chosen": chosen, "rejected": rejected}, row, at.get("tools"))


def _prompt_of(row: Row, at: Columns, warn: Warn) -> list[Message] | None:
    """The prompt, None when it stands only inside the answers."""
    if "conversations" in at:
        return prompt_of(row, at, "conversations", warn)
    if "prompt" not in at:
        return None
    value = row[at["prompt"]]
    if isinstance(value, list):
        return prompt_of(row, at, "prompt", warn)
    if isinstance(value, str) and value.startswith("\n\nHuman:") and value.rstrip().endswith("\n\nAssistant:"):
        return [*turns_before(row, at), *_dialogue(value.rstrip().removesuffix("\n\nAssistant:"), at["prompt"])]
    return [*turns_before(row, at), user(question_of(row, at, "prompt", "input"))]


def _answer_of(row: Row, column: str) -> list[Message]:
    value: Any = row.get(column)
    if isinstance(value, list):
        return messages_of(value, column)
    if isinstance(value, dict) and ("from" in value or "role" in value):
        return messages_of([value], column)
    text = text_of(row, column)
    return _dialogue(text, column) if text.startswith("\n\nHuman:") else [assistant(text)]


def _dialogue(text: str, column: str) -> list[Message]:
    """The turns of a text that is written as HH-RLHF writes it; the space after the colon belongs to the mark."""
    pieces = DIALOGUE.split(text)[1:]
    turns: list[Message] = []
    for speaker, said in zip(pieces[::2], pieces[1::2], strict=True):
        said = said.removeprefix(" ")
        if not said.strip():
            raise RowError(column, f"Turn {len(turns) + 1} of {column} is empty.", "Fill it in, or delete the row.")
        turns.append(user(said) if speaker == "Human" else assistant(said))
    return turns


def _apart(
    prompt: list[Message] | None, chosen: list[Message], rejected: list[Message], at: Columns
) -> tuple[list[Message], list[Message], list[Message]]:
    """(prompt, chosen, rejected) with the prompt in the first alone. Raises RowError when the prompts differ."""
    if prompt is not None and _is_answer(chosen) and _is_answer(rejected):
        return prompt, chosen, rejected
    shared = _common_start(chosen, rejected)
    rest = chosen[len(shared) :], rejected[len(shared) :]
    if prompt is None:
        if not shared:
            raise _no_prompt(chosen, rejected, at)
        check_order(shared, at["chosen"], lambda *_: None, alternate=False)
        return shared, *rest
    if shared and _contains(shared, prompt):
        return (shared if shared[0]["role"] == "system" else [*_system_of(prompt), *shared]), *rest
    for part, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer[0]["role"] in ("user", "system"):
            raise RowError(at[part], f"{at[part]} answers another prompt than the row's.", "Make the prompts the same.")
    return prompt, chosen, rejected


def _is_answer(turns: list[Message]) -> bool:
    """Whether the turns are one answer and nothing else, as in most files."""
    return len(turns) == 1 and turns[0]["role"] == "assistant"


def _common_start(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The turns that both answers begin with, up to the last one of the user's or a tool's: TRL's implicit prompt."""
    asked = 0
    for number, (ours, theirs) in enumerate(zip(chosen[:-1], rejected[:-1], strict=False), start=1):
        if ours != theirs:
            break
        if ours["role"] in ("user", "tool"):
            asked = number
    return chosen[:asked]


def _contains(shared: list[Message], prompt: list[Message]) -> bool:
    """Whether the answers repeat the prompt. Some files repeat more: a prompt's column with one turn of several."""
    ours, theirs = _system_of(prompt), _system_of(shared)
    asked = prompt[len(ours) :]
    begins, ends = shared[len(theirs) :][: len(asked)] == asked, shared[-len(asked) :] == asked
    repeated = begins or ends or (len(asked) == 1 and asked[0] in shared)
    return repeated and not (ours and theirs and ours != theirs)


def _system_of(messages: list[Message]) -> list[Message]:
    return messages[:1] if messages[0]["role"] == "system" else []


def _no_prompt(chosen: list[Message], rejected: list[Message], at: Columns) -> RowError:
    if len(chosen) > 1 and len(rejected) > 1:
        message = "There is no prompt, and the two answers answer different ones."
        return RowError(at["rejected"], message, "Begin both with the same turns, or add a prompt.")
    return RowError("prompt", "prompt is missing, and the answers do not begin with one.", "Add a column 'prompt'.")


def _compare_scores(row: Row, at: Columns, warn: Warn) -> None:
    scores = [row.get(at[part]) if part in at else None for part in ("score_chosen", "score_rejected")]
    ours, theirs = (score if isinstance(score, int | float) else None for score in scores)
    if ours is not None and theirs is not None and ours < theirs:
        warn(at["score_chosen"], "The rejected answer has the higher score.", "Exchange the answers, or drop the row.")


PREFERENCE = DatasetFormat(
    name="preference",
    title="Preference pairs",
    dataset_type="preference",
    columns=("chosen", "rejected"),
    optional=("prompt", "conversations", "input", "system", "history", "tools", "score_chosen", "score_rejected"),
    aliases={
        "prompt": ("question", "instruction", "query", "提示", "提示词", "问题", "指令"),
        "conversations": ("conversation", "对话"),
        "chosen": ("chosen_response", "选中", "优选", "更好", "接受", "好的回答"),
        "rejected": ("rejected_response", "拒绝", "劣选", "更差", "差的回答"),
        "input": ("输入",),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
        "history": ("历史", "历史对话"),
        "tools": ("工具",),
        "score_chosen": ("chosen_score", "chosen-rating", "chosen_rating"),
        "score_rejected": ("rejected_score", "rejected-rating", "rejected_rating"),
    },
    convert=convert,
    sample_row={"prompt": "Name a sea bird.", "chosen": "The puffin.", "rejected": "There are many."},
)
