"""ShareGPT: `conversations`, a list of {from, value} (or of {role, content}), with `system` and `tools`."""

from studio.data.cells import Columns, Warn
from studio.data.conversation import conversation_of
from studio.data.examples import Example, Row
from studio.data.formats.contract import DatasetFormat
from studio.data.tool_calls import with_tools


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    return with_tools({"messages": conversation_of(row, at, "conversations", warn)}, row, at.get("tools"))


SHAREGPT = DatasetFormat(
    name="sharegpt",
    title="ShareGPT",
    dataset_type="language_modeling",
    columns=("conversations",),
    optional=("system", "tools"),
    aliases={
        "conversations": ("conversation", "dialogue", "dialog", "对话", "会话"),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
        "tools": ("functions", "工具"),
    },
    convert=convert,
    sample_row={
        "conversations": [{"from": "human", "value": "Name a sea bird."}, {"from": "gpt", "value": "The puffin."}]
    },
)
