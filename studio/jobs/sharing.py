"""One memory for chats and a training job: how much is free, how much the next one needs, who has to go for it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from studio import hardware
from studio import workspace as names
from studio.base_models import BaseModelFacts, model_folder, read_config, read_facts
from studio.errors import UserError
from studio.jobs.events import TERMINAL, read_events
from studio.jobs.launchers import local
from studio.jobs.memory_plan import box_of, settled, setup_of
from studio.jobs.spec import ServeSpec, TrainSpec, read_spec
from studio.memory import gpus, terms
from studio.memory.estimate import CONTEXT, GIB, estimate
from studio.memory.gpus import Card
from studio.memory.setup import Setup
from studio.memory.shapes import read_shape
from studio.workspace import Workspace

PROCESS = 0.7 * GIB  # of a worker in main memory besides its model: Python and the libraries
ANSWERS = 0.1  # of the weights before they are quantized: room for the keys and values of answers
CHATTING = 60.0  # seconds after an answer in which somebody is taken to read it and to write the next question
UNTOLD = 120.0  # seconds after which a worker has what it needs, where the card's driver does not tell


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where models lie here: the first card, or main memory (`card` None). `free`: bytes a new process can take."""

    free: int
    card: Card | None = None

    @property
    def name(self) -> str:
        return self.card.name if self.card else "this machine"


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A base model that is loaded for chats. `held`: bytes; `idle`: seconds since somebody last wanted it."""

    base_model: str
    held: int
    answering: bool
    idle: float

    @property
    def is_busy(self) -> bool:
        """Whether somebody is chatting with it just now."""
        return self.answering or self.idle < CHATTING


@dataclass(frozen=True)
class Plan:
    """What has to happen before a job can start: chats that are unloaded, or chats that it waits for."""

    unload: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


def plan(need: float, free: float, chats: Sequence[Chat]) -> Plan:
    """Make room of `need` bytes where `free` are: of the idle chats, the one wanted longest ago first.

    `chats` come in that order. Idle ones go only when that is enough, or when nobody is chatting: a job that needs
    more than there is begins with all that there is, and its own failure says the rest.
    """
    if need <= free or not chats:
        return Plan()
    chosen: list[str] = []
    for chat in (chat for chat in chats if not chat.is_busy):
        chosen.append(chat.base_model)
        free += chat.held
        if need <= free:
            return Plan(unload=tuple(chosen))
    busy = tuple(chat.base_model for chat in chats if chat.is_busy)
    return Plan(waits_for=busy) if busy else Plan(unload=tuple(chosen))


def look_around() -> Space:
    """The memory as it is now. A job uses the first card; several are not used."""
    cards = gpus.of_this_box()
    if cards:
        return Space(free=int(cards[0].free or 0), card=cards[0])
    return Space(free=hardware.available_memory())


def chat_needs(spec: ServeSpec, workspace: Workspace, space: Space) -> int | None:
    """Bytes for a base model to chat with, held as the spec says; None when its weights are not here yet."""
    try:
        folder = model_folder(spec.base_model, workspace.models)
        facts = read_facts(spec.base_model, folder) if folder else None
    except UserError:
        return None  # the server that loads it says what is wrong
    if facts is None:
        return None
    plain = Setup(dtype="bfloat16" if space.card is not None or hardware.cpu().bf16 else "float32")
    whole = facts.parameters * plain.weight_bytes
    beside = CONTEXT if space.card else PROCESS
    return int(whole * (1 + ANSWERS) - _saved(spec, facts, plain) + beside)


def _saved(spec: ServeSpec, facts: BaseModelFacts, plain: Setup) -> float:
    """Bytes that quantization takes off a base model; 0 where no formula knows the architecture."""
    if spec.quantization == "none":
        return 0.0
    try:
        shape = read_shape(read_config(facts.folder))
    except UserError:
        return 0.0
    quantized = replace(plain, quantization=spec.quantization, double_quant=spec.bnb_4bit_use_double_quant)
    return terms.weights(plain, shape) - terms.weights(quantized, shape)


def job_needs(spec: TrainSpec, workspace: Workspace, space: Space) -> int | None:
    """Bytes that the estimate says a job needs; None for a model that is not here or that no formula knows."""
    try:
        folder = model_folder(spec.base_model, workspace.models)
        shape = read_shape(read_config(folder)) if folder else None
        if shape is None:
            return None
        if space.card is not None:
            box = box_of(workspace, space.card)
            setup = settled(spec, setup_of(spec), shape, space.card.usable, box)
            return int(estimate(setup, shape, box).needed)
        dtype = "bfloat16" if spec.dtype == "bfloat16" else "float32"
        setup = replace(setup_of(spec), quantization="none", dtype=dtype, autocast=dtype != "float32")
        return int(estimate(setup, shape).allocated + PROCESS)
    except UserError:
        return None


@dataclass(frozen=True)
class Growing:
    """A worker that is alive and whose memory may grow by `promised` bytes."""

    name: str
    folder: Path
    trains: bool
    promised: int

    @property
    def is_over(self) -> bool:
        """Whether it has said its last word, so that its memory is free in a moment."""
        events = read_events(self.folder / names.EVENTS)
        return bool(events) and isinstance(events[-1], TERMINAL)


class Ledger:
    """What the living workers of a workspace hold of its memory, and will."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._needs: dict[str, int | None] = {}  # worker's folder → bytes: an estimate is made once

    def free(self, space: Space, workers: Sequence[Growing]) -> int:
        """Bytes that nobody has, nor will want: what is loading now is counted as loaded."""
        return space.free - sum(worker.promised for worker in workers)

    def workers(self, space: Space) -> list[Growing]:
        """The jobs that run and the chats that are loaded, or load: one of these has room for an answer promised."""
        found = []
        for folder in (*self._workspace.jobs.iterdir(), *self._workspace.servers.iterdir()):
            record = local.read_record(folder)
            if record is None or not local.is_alive(record):
                continue
            try:
                spec = read_spec(folder / names.SPEC)
            except UserError:
                continue  # of another version: it holds what it holds, and promises nothing that could be read
            if isinstance(spec, TrainSpec):
                promised = self._promised(folder, job_needs, spec, record, space)
                found.append(Growing(spec.name or folder.name, folder, trains=True, promised=promised))
            else:
                loads = spec if isinstance(spec, ServeSpec) else ServeSpec(base_model=spec.base_model)  # as a merge may
                promised = self._promised(folder, chat_needs, loads, record, space)
                found.append(Growing(spec.base_model, folder, trains=False, promised=promised))
        return found

    def _promised(
        self, folder: Path, needs: Callable[..., int | None], what: Any, record: local.WorkerRecord, space: Space
    ) -> int:
        if folder.name not in self._needs:
            self._needs[folder.name] = needs(what, self._workspace, space)
        need, has = self._needs[folder.name], held(record, space)
        if need is None:
            return 0
        if has is None:  # then by and by it is missing from what is free; all of it, when a chat answers
            loads = not (folder / names.ENDPOINT).is_file() and time.time() - record.create_time < UNTOLD
            return need if loads else 0
        return max(0, need - has)


def held(record: local.WorkerRecord, space: Space) -> int | None:
    """Bytes that a worker holds of the card, or of main memory; None where the driver does not tell."""
    if space.card is not None:
        return hardware.process_memory(record.pid)
    try:
        return int(psutil.Process(record.pid).memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended


def gib(amount: float) -> str:
    """Bytes as people say them."""
    return f"{max(0.0, amount) / GIB:.1f} GiB"
