"""A list of prompts asked of several models: a table that fills, can be cancelled, and leaves as CSV or JSON Lines."""

import csv
import io
import json
import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from studio.data.library import FORMULA_MARKS
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.client import ChatClient, Chunk, chat_target
from studio.playground.conversations import Drawn, Facts, facts_of
from studio.playground.prompts import Prompt, words_of
from studio.playground.servers import wait_for_endpoint

ASKED_AT_ONCE = 8  # requests of one batch that the servers see together
BATCHES_KEPT = 20


@dataclass(frozen=True)
class Asked:
    """One model of a batch: what it is called in the table, and how it answers."""

    title: str
    choice: str
    drawn: Drawn


@dataclass
class Cell:
    """One answer. `error` is a sentence when there is none."""

    text: str = ""
    error: str = ""
    facts: Facts = field(default_factory=Facts)


@dataclass
class Batch:
    """Prompts × models. `cells[prompt][model]` is None until that one has answered."""

    id: str
    prompts: list[Prompt]
    models: list[Asked]
    cells: list[list[Cell | None]]
    left: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.time)
    running: bool = True

    @property
    def done(self) -> int:
        """How many cells are filled."""
        return sum(cell is not None for row in self.cells for cell in row)

    def view(self, since: int = -1) -> dict[str, Any]:
        """What the page draws: every row, or (`since` an earlier answer's) those from there on that have an answer."""
        rows = [
            {"row": number, "prompt": words_of(self.prompts[number]), "cells": [_told(cell) for cell in row]}
            for number, row in enumerate(self.cells)
            if since < 0 or (number >= since and any(row))
        ]
        whole = next((number for number, row in enumerate(self.cells) if None in row), len(self.cells))
        return {
            "id": self.id,
            "models": [{"title": model.title, "choice": model.choice} for model in self.models],
            "done": self.done,
            "of": len(self.prompts) * len(self.models),
            "running": self.running,
            "cancelled": self.left.is_set(),
            "since": whole,
            "rows": rows,
        }


class BatchDesk:
    """The batches of one studio, in memory: the newest twenty. Safe to share between threads."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lock = threading.Lock()
        self._batches: OrderedDict[str, Batch] = OrderedDict()

    def start(self, prompts: list[Prompt], models: list[Asked]) -> str:
        """Begin to ask; the batch's id. Raises UserError when a model is not there."""
        for model in models:
            chat_target(self._studio.store, self._studio.workspace, model.choice)
        cells: list[list[Cell | None]] = [[None] * len(models) for _ in prompts]
        batch = Batch(secrets.token_hex(8), prompts, models, cells)
        with self._lock:
            self._batches[batch.id] = batch
            finished = [one for one in self._batches.values() if not one.running]
            for old in finished[: max(0, len(self._batches) - BATCHES_KEPT)]:
                del self._batches[old.id]
        threading.Thread(target=self._run, args=(batch,), name="prompt-list", daemon=True).start()
        return batch.id

    def get(self, batch_id: str) -> Batch:
        """One batch. Raises UserError when it is not known any more."""
        with self._lock:
            if batch_id in self._batches:
                return self._batches[batch_id]
        raise UserError("This table is not kept any more.", "Run the list again.")

    def cancel(self, batch_id: str) -> None:
        """Ask nothing more; what has been answered stays."""
        self.get(batch_id).left.set()

    def _run(self, batch: Batch) -> None:
        work: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        for row in range(len(batch.prompts)):
            for column in range(len(batch.models)):
                work.put((row, column))
        try:
            with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="prompt-list") as pool:
                workers = [pool.submit(self._work, batch, work) for _ in range(ASKED_AT_ONCE)]
            for worker in workers:
                worker.result()
        finally:
            batch.running = False

    def _work(self, batch: Batch, work: "queue.SimpleQueue[tuple[int, int]]") -> None:
        while not batch.left.is_set():
            try:
                row, column = work.get_nowait()
            except queue.Empty:
                return
            cell = self._ask(batch, batch.prompts[row], batch.models[column])
            if not batch.left.is_set() or cell.error == "":
                batch.cells[row][column] = cell

    def _ask(self, batch: Batch, prompt: Prompt, model: Asked) -> Cell:
        text, last = "", Chunk("")
        try:
            target = chat_target(self._studio.store, self._studio.workspace, model.choice)
            client = ChatClient(wait_for_endpoint(self._studio, target.base_model, batch.left))
            has_own = prompt[0]["role"] == "system" or not model.drawn.system.strip()
            messages: Prompt = prompt if has_own else [{"role": "system", "content": model.drawn.system}, *prompt]
            for chunk in client.answer(target.model, messages, model.drawn.settings):
                text += chunk.text
                last = last.followed_by(chunk)
                if batch.left.is_set():
                    return Cell(text, error="cancelled", facts=facts_of(model.choice, last))
        except UserError as error:
            return Cell(text, error=str(error))
        return Cell(text, facts=facts_of(model.choice, last))


def jsonl(batch: Batch) -> Iterator[bytes]:
    """One object a prompt: {"prompt", "messages", "answers": [{"model", "choice", "text", "error", "settings", …}]}."""
    for prompt, row in zip(batch.prompts, batch.cells, strict=True):
        answers = [
            {
                "model": model.title,
                "choice": model.choice,
                "text": cell.text if cell else None,
                "error": cell.error if cell else "not asked",
                "settings": model.drawn.model_dump(),
                **(_measured(cell.facts) if cell else {}),
            }
            for model, cell in zip(batch.models, row, strict=True)
        ]
        told = {"prompt": words_of(prompt), "messages": prompt, "answers": answers}
        yield json.dumps(told, ensure_ascii=False).encode() + b"\n"


def table(batch: Batch) -> Iterator[bytes]:
    """The answers as CSV for a spreadsheet; a cell that it would take for a formula begins with an apostrophe."""
    yield _line(["prompt", *(model.title for model in batch.models)])
    for prompt, row in zip(batch.prompts, batch.cells, strict=True):
        yield _line([words_of(prompt), *((cell.text or cell.error) if cell else "" for cell in row)])


def _line(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([f"'{cell}" if cell.startswith(FORMULA_MARKS) else cell for cell in cells])
    return buffer.getvalue().encode()


def _measured(facts: Facts) -> dict[str, Any]:
    return facts.model_dump(include={"finish", "tokens", "prompt_tokens", "seconds", "first_token_seconds"})


def _told(cell: Cell | None) -> dict[str, Any] | None:
    return None if cell is None else {"text": cell.text, "error": cell.error, **_measured(cell.facts)}


__all__ = ["Asked", "Batch", "BatchDesk", "Cell", "jsonl", "table"]
