"""A list of turns in a row, in OpenAI's or ShareGPT's spelling → messages in an order that can be learned."""

from contextlib import suppress
from typing import Any, NoReturn

from studio.data.cells import Columns, Warn, is_blank, kind_of, near_name, optional_text
from studio.data.examples import Message, Role, Row, RowError, system
from studio.data.tool_calls import DECODER, calls_in_text, calls_of

ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "human": "user",
    "gpt": "assistant",
    "tool": "tool",
    "developer": "system",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "prompter": "user",
    "function_call": "assistant",
    "tool_call": "assistant",
    "用户": "user",
    "人类": "user",
    "助手": "assistant",
    "系统": "system",
    "工具": "tool",
}
CALLERS = {"function_call", "tool_call"}  # the turn's text is the call itself
PLAIN_ROLES = {spelled: role for spelled, role in ROLES.items() if spelled not in CALLERS}
KNOWN_ROLES = {"from": "human, gpt, system, function_call, observation", "role": "system, user, assistant, tool"}
TEXT_PARTS = {"text", "input_text", "output_text"}
MEDIA = ("image", "images", "image_url", "audio", "input_audio", "video", "videos", "file", "files", "refusal")
REASONING = ("reasoning_content", "reasoning", "thinking")
MARKS_OF_A_CALL = ("{", "<", "[", "(")  # a call that is written into the text of an answer has one of these


def messages_of(value: Any, column: str) -> list[Message]:
    """The messages in a column's list, in whatever order. Raises RowError."""
    if type(value) is not list or not value:
        raise RowError(column, f"{column} is {kind_of(value)}, not a list of messages.", _list_hint(value))
    role_key, content_key = ("from", "value") if is_sharegpt(value) else ("role", "content")
    messages: list[Message] = []
    for item in value:
        if type(item) is dict and len(item) == 2:  # the usual case, without calls and details, quickly
            spelled, content = item.get(role_key), item.get(content_key)
            role = PLAIN_ROLES.get(spelled) if type(spelled) is str else None
            if role is not None and type(content) is str and not is_blank(content):
                messages.append({"role": role, "content": content})
                continue
        messages.append(_Turn(item, column, len(messages) + 1, role_key, content_key).message())
    return messages


def is_sharegpt(value: Any) -> bool:
    """Whether a list's first turn is spelled {from, value}."""
    first = value[0]
    return isinstance(first, dict) and "role" not in first and ("from" in first or _only_value(first))


def _only_value(turn: dict[str, Any]) -> bool:
    return "value" in turn and "content" not in turn


def turns_of(row: Row, column: str) -> Any:
    """What a conversation's column holds; JSON text of a list of objects (a table's cell) is read as that list."""
    value = row[column]
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # then it is text, and refused as such
            found = DECODER.decode(value)
            if found and all(isinstance(turn, dict) for turn in found):
                return found
    return value


def conversation_of(row: Row, at: Columns, part: str, warn: Warn) -> list[Message]:
    """The conversation in a part, with the `system` part before it; it ends with an answer. Raises RowError."""
    column = at[part]
    turns = turns_of(row, column)
    messages = messages_of(turns, column)
    if not any(message["role"] == "assistant" and "weight" not in message for message in messages):
        raise RowError(column, "No turn is the assistant's, so there is nothing to learn.", "Add an answer.")
    check_order(messages, column, warn, alternate=is_sharegpt(turns))
    if messages[-1]["role"] != "assistant":
        raise RowError(column, _ending(messages), "Add the answer, or delete that turn.")
    return _with_system(messages, row, at)


def prompt_of(row: Row, at: Columns, part: str, warn: Warn) -> list[Message]:
    """The turns before an answer in a part, with the `system` part before them. Raises RowError."""
    column = at[part]
    messages = messages_of(row[column], column)
    check_order(messages, column, warn, alternate=is_sharegpt(row[column]))
    if messages[-1]["role"] not in ("user", "tool"):
        raise RowError(column, f"The prompt ends with a turn of the {messages[-1]['role']}.", "End with the question.")
    return _with_system(messages, row, at)


def check_answer(answer: list[Message], column: str, *, before: list[Message]) -> None:
    """Raise RowError unless every turn of an answer is the assistant's, or a tool's result between two of them."""
    if not answer or answer[-1]["role"] != "assistant":
        raise RowError(column, f"{column} does not end with the assistant's answer.", "Add the answer.")
    for message in answer:
        if message["role"] not in ("assistant", "tool"):
            raise RowError(
                column,
                f"{column} holds a turn of the {message['role']} that is not part of the prompt.",
                "Put everything before the answer into the prompt, the same for each answer.",
            )
    check_order([*before, *answer], column, lambda *_: None, alternate=False)


def check_order(messages: list[Message], column: str, warn: Warn, *, alternate: bool) -> None:
    """Raise RowError for an order that no model can learn from; warn of one that some chat templates refuse.

    ShareGPT's convention is that user and assistant take turns (`alternate`); there a breach is an error.
    """
    previous, odd = "system", 0
    caller: Message | None = None
    for number, message in enumerate(messages, start=1):
        role = message["role"]
        if role == "tool":
            _check_result(message, caller, f"Turn {number}", column)
        elif role == "system":
            if number > 1:
                raise RowError(column, f"Turn {number} is the system's, and not the first.", "Put it first, once.")
        elif role == previous or (role == "assistant" and previous == "system"):
            odd = odd or number
        previous = role
        caller = caller if role == "tool" else message
    if odd and alternate:
        raise RowError(column, _disorder(messages, odd), "Correct the order, or delete the turn.")
    if odd:
        warn(column, _disorder(messages, odd), "Some models' chat templates refuse that.")


def _check_result(result: Message, caller: Message | None, place: str, column: str) -> None:
    """Refuse a tool's result that answers no call: the turn before (other results aside) must have made one."""
    hint = "Add the call before it, or delete the turn."
    if caller is None or caller["role"] != "assistant":
        raise RowError(column, f"{place} is a tool's result, but no call stands before it.", hint)
    calls = caller.get("tool_calls", [])
    if not calls and not any(mark in caller["content"] for mark in MARKS_OF_A_CALL):
        raise RowError(column, f"{place} is a tool's result, but the answer before it calls no tool.", hint)
    known = {call["id"] for call in calls if "id" in call}
    answered = result.get("tool_call_id")
    if known and answered is not None and answered not in known:
        raise RowError(column, f"{place} answers the call {answered[:40]!r}, which was not made.", hint)


def _with_system(messages: list[Message], row: Row, at: Columns) -> list[Message]:
    text = optional_text(row, at.get("system"))
    if text and messages[0]["role"] == "system":
        raise RowError(at["system"], "There are two system prompts, one of them in the turns.", "Keep one of them.")
    return [system(text), *messages] if text else messages


class _Turn:
    """One turn that needs a closer look: it is wrong, or has more than a role and a text."""

    def __init__(self, value: Any, column: str, number: int, role_key: str, content_key: str) -> None:
        self.value, self.column, self.place = value, column, f"Turn {number}"
        self.role_key, self.content_key = role_key, content_key

    def message(self) -> Message:
        """The turn as a message. Raises RowError."""
        if not isinstance(self.value, dict):
            self._fail(f"is {kind_of(self.value)}, not an object.", f"Write {{{self.role_key}, {self.content_key}}}.")
        spelled = self._spelled_role()
        message: Message = {"role": ROLES[spelled], "content": ""}
        self._refuse_media()
        if spelled in CALLERS:
            message["tool_calls"] = calls_in_text(self._content(spelled, False), self.column, self.place)
            return message
        if message["role"] == "assistant":
            self._add_calls(message)
            self._add_details(message)
        message["content"] = self._content(message["role"], "tool_calls" in message)
        for key in ("name", "tool_call_id"):
            if isinstance(self.value.get(key), str):
                message[key] = self.value[key]
        return message

    def _spelled_role(self) -> str:
        spelled = self.value.get(self.role_key)
        if isinstance(spelled, str):
            if spelled in ROLES:
                return spelled
            if spelled.strip().lower() in ROLES:
                return spelled.strip().lower()
        if self.role_key not in self.value:
            near = near_name(self.role_key, self.value)
            self._fail(f"has no {self.role_key}." + (f" Is {near!r} meant?" if near else ""), "Say whose turn it is.")
        known = "human, gpt, system, function_call, observation"
        known = known if self.role_key == "from" else "system, user, assistant, tool"
        return self._fail(
            f"has the {self.role_key} {str(spelled)[:40]!r}, which is not known.", f"Use one of: {known}."
        )

    def _refuse_media(self) -> None:
        for key in MEDIA:
            if self.value.get(key):
                self._fail(f"has {key!r}; only text can be learned here.", "Remove it, or delete the row.")

    def _content(self, role: str, has_calls: bool) -> str:
        key = self.content_key
        if key not in self.value and not has_calls:
            near = near_name(key, self.value)
            self._fail(f"has no {key}." + (f" Is {near!r} meant?" if near else ""), "Add its text.")
        content = self.value.get(key)
        if content is None and has_calls:
            return ""
        if isinstance(content, list) and content:
            content = "".join(self._part(part) for part in content)
        if not isinstance(content, str):
            self._fail(f"has as its {key} {kind_of(content)}, not text.", "Write text.")
        if is_blank(content) and not has_calls and role not in ("system", "tool"):
            self._fail("is empty.", "Fill it in, or delete the row.")
        return content

    def _part(self, part: Any) -> str:
        if isinstance(part, dict) and part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str):
            return str(part["text"])
        if isinstance(part, dict) and part.get("type") in TEXT_PARTS:
            return self._fail("has a text part without its text.", "Write {type: text, text: …}, or delete the part.")
        kind = part.get("type") if isinstance(part, dict) else None
        shown = f"a part of the type {kind[:40]!r}" if isinstance(kind, str) else f"a part that is {kind_of(part)}"
        return self._fail(f"has {shown}; only text can be learned here.", "Keep the text parts, or delete the row.")

    def _add_calls(self, message: Message) -> None:
        calls, call = self.value.get("tool_calls"), self.value.get("function_call")
        if calls is None and call is not None:
            calls = [call]
        if calls is not None and calls != []:
            message["tool_calls"] = calls_of(calls, self.column, self.place)

    def _add_details(self, message: Message) -> None:
        reasoning = next((self.value[key] for key in REASONING if self.value.get(key)), None)
        if reasoning is not None:
            if not isinstance(reasoning, str):
                self._fail(f"has a reasoning that is {kind_of(reasoning)}, not text.", "Write text.")
            message["reasoning_content"] = reasoning
        weight = self.value.get("weight")
        if weight is not None and weight not in (0, 1):
            self._fail(f"has the weight {str(weight)[:20]}.", "Write 1 to learn the turn, 0 to only read it.")
        if weight == 0 and weight is not None:
            message["weight"] = 0

    def _fail(self, message: str, hint: str) -> NoReturn:
        raise RowError(self.column, f"{self.place} {message}", hint)


def _disorder(messages: list[Message], number: int) -> str:
    role = messages[number - 1]["role"]
    first = number == 1 or messages[number - 2]["role"] == "system"
    if first:
        return "The conversation begins with the assistant's turn."
    return f"Turns {number - 1} and {number} are both the {role}'s."


def _ending(messages: list[Message]) -> str:
    return f"The conversation ends with a turn of the {messages[-1]['role']}, which nobody answers."


def _list_hint(value: Any) -> str:
    if isinstance(value, str):
        return "Write the list itself; in a table's cell, its JSON: [ {…}, {…} ]."
    return "Write [ {…}, {…} ]."
