"""Conversations that grow beside each other while their answers stream in. No Gradio in here."""

import queue
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from studio.data.examples import Message
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.client import ChatClient, Chunk, Settings, chat_target
from studio.playground.servers import wait_for_endpoint

YIELD_EVERY = 0.1  # seconds: ten redraws a second read as smoothly as thirty and cost a third
# What Markdown surely takes for code: fences of three at the start of a line, and spans between single backticks.
# Where longer fences occur nothing is taken for code: then a tag may show as &lt;, but none can slip through.
CODE = re.compile(
    r"(^ {0,3}```[^`\n]*\n.*?(?:^ {0,3}```+[ \t]*$|\Z)|^ {0,3}~~~[^\n]*\n.*?(?:^ {0,3}~~~+[ \t]*$|\Z)"
    r"|(?<![\\`])`(?!`)[^`\n]+`(?!`))",
    re.DOTALL | re.MULTILINE,
)
LONG_FENCE = re.compile(r"````|~~~~")
# As pandoc reads it: no space within the dollars, and nothing behind them that makes the second one a price.
MATHS = re.compile(r"(?<![\\$])\$(?![\s$])([^$\n]*[^\s$\\])\$(?![0-9A-Za-z$])")
THINK, THOUGHT = "&lt;think>", "&lt;/think>"
READERS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="chat")  # they wait for pieces, nothing more
Turn = dict[str, Any]


class Pane:
    """One column's conversation: the history with the new question, and the answer as it grows.

    `text` is what came of the answer, `answer` what is shown of it; when `done`, `last` is what was told about it.
    """

    def __init__(
        self,
        studio: Studio,
        choice: str,
        history: list[Turn],
        prompt: str,
        *,
        system: str,
        settings: Settings,
        loading: str,
    ) -> None:
        self.target = chat_target(studio.store, studio.workspace, choice)
        self.turns = [{"role": turn["role"], "content": text_of(turn)} for turn in history or []]
        self.turns.append({"role": "user", "content": prompt})
        self.answer, self.text = loading, ""
        self._loading = loading
        self.last: Chunk | None = None
        self._studio, self._system, self._settings = studio, system, settings
        self._pieces: queue.Queue[str] = queue.Queue()
        self._left = threading.Event()
        self._work = READERS.submit(self._run)
        self.done = self.failed = False

    def read(self) -> None:
        """Take in what came since the last time. Raises what the reading thread raised."""
        self.done = self._work.done()  # before the queue is emptied: what came before the end is taken in
        while not self._pieces.empty():
            self.answer = self.text = self._pieces.get()
        if not self.text:
            self.answer = self._loading
        if self.done:
            self.failed = self._work.exception() is not None
            self.last = self._work.result()
            self.answer = self.text or "…"

    def leave(self) -> None:
        """Nobody reads any more: the server may stop."""
        self._left.set()

    def shown(self) -> list[Turn]:
        """The conversation for the page: text with its angle brackets made harmless outside code."""
        turns = [*self.turns, {"role": "assistant", "content": self.answer}]
        return [{**turn, "content": as_text(turn["content"])} for turn in turns]

    def _wait(self, reason: str) -> None:
        """Show why the base model is waited for, where there is a reason beside its loading."""
        if reason:
            self._loading = reason

    def _run(self) -> Chunk:
        """Read the answer to its end; returns what was told about it."""
        endpoint = wait_for_endpoint(self._studio, self.target.base_model, self._left, self._wait)
        client = ChatClient(endpoint)
        messages: list[Message] = [{"role": "system", "content": self._system}] if self._system.strip() else []
        messages += self.turns  # type: ignore[arg-type]
        answer, told = "", Chunk("")
        for chunk in client.answer(self.target.model, messages, self._settings):
            answer += chunk.text
            told = told.followed_by(chunk)
            self._pieces.put(answer)
            if self._left.is_set():
                break
        return told


def converse(panes: list[Pane]) -> Iterator[list[list[Turn]]]:
    """All conversations, redrawn at most ten times a second, until every answer is whole.

    Raises the first error of any pane, when the others have answered.
    """
    failures: list[UserError] = []
    try:
        while True:
            for pane in panes:
                if not pane.done:
                    try:
                        pane.read()
                    except UserError as error:
                        failures.append(error)
            yield [pane.shown() for pane in panes]
            if all(pane.done for pane in panes):
                break
            time.sleep(YIELD_EVERY)
    finally:
        for pane in panes:
            pane.leave()
    if failures:
        raise failures[0]


def folded(turns: list[Turn], title: str) -> list[Turn]:
    """Turns as `as_text` made them → messages for a chat view, what a model thought first apart, under a title."""
    messages = []
    for turn in turns:
        thought, rest, whole = thinking(turn["content"]) if turn["role"] == "assistant" else ("", turn["content"], True)
        if thought:
            metadata = {"title": title, "status": "done" if whole else "pending"}
            messages.append({"role": "assistant", "content": thought, "metadata": metadata})
        if rest or not thought:
            messages.append({**turn, "content": rest})
    return messages


def thinking(answer: str) -> tuple[str, str, bool]:
    """(what an answer thinks first, the rest, whether the thought has ended), the tags as `as_text` writes them.

    Some templates put the opening tag into the prompt: then the answer has the closing one alone.
    """
    begins = answer.lstrip().startswith(THINK)
    before, end, rest = answer.partition(THOUGHT)
    if not begins and not end:
        return "", answer, True
    thought = before.lstrip().removeprefix(THINK).strip()
    return thought, rest.strip() if thought or end else answer, bool(end)


def thought_apart(answer: str) -> tuple[str, str]:
    """(what an answer thinks first, the rest) as plain text."""
    harmless = as_text(answer)
    thought, rest, _ = thinking(harmless)
    return ("", answer) if rest == harmless else (from_text(thought), from_text(rest))


def text_of(turn: Turn) -> str:
    """The text of a turn as Gradio sends it back: parts of type text, joined; files are not ours."""
    content = turn["content"]
    if isinstance(content, str):
        return from_text(content)
    parts = [part.get("text", "") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return from_text("".join(parts))


def as_text(text: str) -> str:
    """Model output for a Markdown view: outside code, < is written &lt;, so that no tag is ever made of it."""
    parts = _parts(text)
    return "".join(
        part if index % 2 else part.replace("&", "&amp;").replace("<", "&lt;") for index, part in enumerate(parts)
    )


def with_maths(text: str) -> str:
    """A text that `as_text` made, with maths between single dollars written as \\(…\\); prices stay prices."""
    parts = _parts(text)
    return "".join(part if index % 2 else MATHS.sub(r"\\(\1\\)", part) for index, part in enumerate(parts))


def from_text(text: str) -> str:
    """What `as_text` was made of."""
    parts = _parts(text)
    return "".join(
        part if index % 2 else part.replace("&lt;", "<").replace("&amp;", "&") for index, part in enumerate(parts)
    )


def _parts(text: str) -> list[str]:
    """Text and code in turns, text first."""
    return [text] if LONG_FENCE.search(text) else CODE.split(text)
