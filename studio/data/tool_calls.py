"""Tool definitions and tool calls in a row → the shapes that chat templates expect."""

import json
from typing import Any, NoReturn, cast

from studio.data.cells import kind_of
from studio.data.examples import Example, Function, Row, RowError, Tool, ToolCall


def with_tools(example: dict[str, Any], row: Row, column: str | None) -> Example:
    """`example`, with the tools of the row's column when there are any. Raises RowError."""
    tools = tools_of(row, column) if column is not None else []
    return cast(Example, {**example, "tools": tools} if tools else example)


def tools_of(row: Row, column: str) -> list[Tool]:
    """The tool definitions in a column (a list, or JSON text of one); none when null or empty. Raises RowError."""
    value = row.get(column)
    if isinstance(value, str):
        value = _parsed(value, column, column) if value.strip() else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError(column, f"{column} is {kind_of(value)}, not a list of tools.", "Write [ {…}, {…} ].")
    return [_tool(item, column, number) for number, item in enumerate(value, start=1)]


def calls_of(value: Any, column: str, place: str) -> list[ToolCall]:
    """The calls in a message's `tool_calls`, their arguments as objects. Raises RowError."""
    if not isinstance(value, list):
        raise RowError(column, f"{place}: tool_calls is {kind_of(value)}, not a list.", "Write [ {…} ].")
    return [_call(item, column, place) for item in value]


def calls_in_text(text: str, column: str, place: str) -> list[ToolCall]:
    """The calls in a ShareGPT function_call turn: JSON text of {name, arguments}, or a list of them."""
    value = _parsed(text, column, f"{place}: the function call")
    return [_call(item, column, place) for item in (value if isinstance(value, list) else [value])]


def _tool(value: Any, column: str, number: int) -> Tool:
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise RowError(column, f"Tool {number} has no name.", "Write {type: function, function: {name: …}}.")
    return value if "function" in value else {"type": "function", "function": value}


def _call(value: Any, column: str, place: str) -> ToolCall:
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RowError(column, f"{place}: a tool call has no function name.", "Write {function: {name, arguments}}.")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _parsed(arguments, column, f"{place}: the arguments of {name[:40]}")
    if not isinstance(arguments, dict):
        raise RowError(
            column,
            f"{place}: the arguments of {name[:40]} are {kind_of(arguments)}, not an object.",
            "Write them as an object, or as JSON text of one.",
        )
    call: ToolCall = {"type": "function", "function": Function(name=name, arguments=arguments)}
    if isinstance(value.get("id"), str):
        call["id"] = value["id"]
    return call


def _parsed(text: str, column: str, what: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        raise RowError(column, f"{what} is not valid JSON: {reason}.", "Correct it, or delete the row.") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
