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
from studio.jobs.servers import Endpoint
from studio.jobs.studio import Studio
from studio.playground.client import ChatClient, Settings, chat_target
from studio.playground.remote import remote_endpoint

YIELD_EVERY = 0.1  # seconds: ten redraws a second read as smoothly as thirty and cost a third
START_PATIENCE = 180.0  # seconds for a base model to load
# What Markdown surely takes for code: fences of three at the start of a line, and spans between single backticks.
# Where longer fences occur nothing is taken for code: then a tag may show as &lt;, but none can slip through.
CODE = re.compile(
    r"(^ {0,3}```[^`\n]*\n.*?(?:^ {0,3}```+[ \t]*$|\Z)|^ {0,3}~~~[^\n]*\n.*?(?:^ {0,3}~~~+[ \t]*$|\Z)"
    r"|(?<![\\`])`(?!`)[^`\n]+`(?!`))",
    re.DOTALL | re.MULTILINE,
)
LONG_FENCE = re.compile(r"````|~~~~")
READERS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="chat")  # they wait for pieces, nothing more
Turn = dict[str, Any]


class Pane:
    """One column's conversation: the history with the new question, and the answer as it grows."""

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
        self.answer = loading
        self._studio, self._system, self._settings = studio, system, settings
        self._pieces: queue.Queue[str] = queue.Queue()
        self._left = threading.Event()
        self._work = READERS.submit(self._run)
        self.done = False

    def read(self) -> None:
        """Take in what came since the last time. Raises what the reading thread raised."""
        self.done = self._work.done()  # before the queue is emptied: what came before the end is taken in
        while not self._pieces.empty():
            self.answer = self._pieces.get()
        if self.done:
            self._work.result()

    def leave(self) -> None:
        """Nobody reads any more: the server may stop."""
        self._left.set()

    def shown(self) -> list[Turn]:
        """The conversation for the page: text with its angle brackets made harmless outside code."""
        turns = [*self.turns, {"role": "assistant", "content": self.answer}]
        return [{**turn, "content": as_text(turn["content"])} for turn in turns]

    def _run(self) -> None:
        client = ChatClient(self._endpoint())
        messages: list[Message] = [{"role": "system", "content": self._system}] if self._system.strip() else []
        messages += self.turns  # type: ignore[arg-type]
        answer = ""
        for piece in client.stream(self.target.model, messages, self._settings):
            answer += piece
            self._pieces.put(answer)
            if self._left.is_set():
                return
        self._pieces.put(answer or "…")

    def _endpoint(self) -> Endpoint:
        elsewhere = remote_endpoint(self._studio, self.target.base_model)
        if elsewhere is not None:
            return elsewhere
        began = time.monotonic()
        while not self._left.is_set():
            endpoint = self._studio.servers.want(self.target.base_model)
            if endpoint is not None:
                return endpoint
            if time.monotonic() - began > START_PATIENCE:
                break
            time.sleep(0.2)
        raise UserError("The base model did not load in time.", "Look at the machine's memory, then try again.")


def converse(panes: list[Pane]) -> Iterator[list[list[Turn]]]:
    """Both conversations, redrawn at most ten times a second, until every answer is whole."""
    try:
        while True:
            for pane in panes:
                pane.read()
            yield [pane.shown() for pane in panes]
            if all(pane.done for pane in panes):
                return
            time.sleep(YIELD_EVERY)
    finally:
        for pane in panes:
            pane.leave()


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


def from_text(text: str) -> str:
    """What `as_text` was made of."""
    parts = _parts(text)
    return "".join(
        part if index % 2 else part.replace("&lt;", "<").replace("&amp;", "&") for index, part in enumerate(parts)
    )


def _parts(text: str) -> list[str]:
    """Text and code in turns, text first."""
    return [text] if LONG_FENCE.search(text) else CODE.split(text)
