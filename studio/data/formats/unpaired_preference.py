"""Unpaired preference: one answer and whether it is good (label true) or bad (label false)."""

from studio.data.cells import Columns, Warn, refuse_missing
from studio.data.conversation import conversation_of
from studio.data.examples import Example, Row, RowError
from studio.data.formats.contract import DatasetFormat
from studio.data.formats.prompt_completion import answer_turns, prompt_turns
from studio.data.tool_calls import with_tools


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    label = _label_of(row, at["label"])
    part = next((part for part in ("messages", "conversations") if part in at), None)
    if part is None:
        prompt = prompt_turns(row, at, warn)
        completion = answer_turns(row, at["completion"], before=prompt)
    else:
        messages = conversation_of(row, at, part, warn)
        prompt, completion = messages[:-1], messages[-1:]
        if not prompt or prompt[-1]["role"] not in ("user", "tool"):
            raise RowError(at[part], "No question stands before the answer.", "Add the question.")
    return with_tools({"prompt": prompt, "completion": completion, "label": label}, row, at.get("tools"))


def _label_of(row: Row, column: str) -> bool:
    label = row.get(column)
    if label is None and column not in row:
        refuse_missing(column, row)
    if not isinstance(label, bool):
        # "false" is a text that Python calls true: a label is true or false, or the row is refused.
        shown = "null" if label is None else repr(label)[:40]
        hint = "Write true or false, without quotes."
        raise RowError(column, f"{column} is {shown}, not true or false.", hint)
    return label


UNPAIRED_PREFERENCE = DatasetFormat(
    name="unpaired_preference",
    title="Unpaired preference",
    dataset_type="unpaired_preference",
    columns=("label",),
    either=(("messages",), ("conversations",), ("prompt", "completion")),
    optional=("input", "system", "history", "tools"),
    aliases={
        "label": ("kto_tag", "标签", "标注"),
        "messages": ("消息",),
        "conversations": ("conversation", "对话", "会话"),
        "prompt": ("instruction", "question", "提示", "提示词", "问题", "指令"),
        "completion": ("response", "answer", "output", "补全", "回复", "回答", "答案", "输出"),
        "input": ("输入",),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
        "history": ("历史", "历史对话"),
        "tools": ("工具",),
    },
    in_tables={"label": {"true": True, "false": False, "1": True, "0": False}},
    convert=convert,
    sample_row={"prompt": "Name a sea bird.", "completion": "The puffin.", "label": True},
)
