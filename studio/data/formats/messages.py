"""OpenAI `messages`: a list of {role, content}, with `tools` and tool calls when they are there."""

from studio.data.cells import Columns, Warn
from studio.data.conversation import conversation_of
from studio.data.examples import Example, Row
from studio.data.formats.contract import DatasetFormat
from studio.data.tool_calls import with_tools


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    return with_tools({"messages": conversation_of(row, at, "messages", warn)}, row, at.get("tools"))


MESSAGES = DatasetFormat(
    name="messages",
    title="OpenAI messages",
    dataset_type="language_modeling",
    columns=("messages",),
    optional=("system", "tools"),
    aliases={"messages": ("消息",), "system": ("系统", "系统提示"), "tools": ("functions", "工具")},
    convert=convert,
    sample_row={
        "messages": [
            {"role": "user", "content": "Name a sea bird."},
            {"role": "assistant", "content": "The puffin."},
        ]
    },
)
