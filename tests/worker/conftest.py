"""What the worker's tests share: one workspace for them all, jobs done in this process or in one of their own."""

import gc
import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from studio import workspace as names
from studio.jobs.events import AnyEvent, EventWriter, read_events
from studio.jobs.launchers import local
from studio.jobs.spec import AnySpec, TrainSpec, spec_text
from studio.workspace import Workspace, new_id
from tests.conftest import import_rows, instruction_rows, make_tiny_model, preference_rows, tiny_spec, write_rows

PATIENCE = 120.0  # seconds until a test gives up on a process; importing the libraries takes most of it


@dataclass(frozen=True)
class Ended:
    """How a worker process ended: its exit code, its events, its log."""

    code: int
    events: list[AnyEvent]
    log: str

    @property
    def last(self) -> Any:
        return self.events[-1]


@dataclass(frozen=True)
class Lab:
    """A workspace with a tiny base model and two data sets, and jobs in it that no queue knows."""

    workspace: Workspace
    model: Path
    instructions: dict[str, str]
    preferences: dict[str, str]

    def spec(self, preset: str, **changes: Any) -> TrainSpec:
        data = changes.pop("dataset", self.preferences if preset == "dpo" else self.instructions)
        return tiny_spec(preset, data, changes.pop("model", self.model), **changes)

    def folder(self, spec: AnySpec, kind: str = "job") -> Path:
        """A new folder with that spec."""
        place = getattr(self.workspace, kind)(new_id(kind))
        place.mkdir()
        (place / names.SPEC).write_text(spec_text(spec), encoding="utf-8")
        return place

    def train(self, spec: TrainSpec) -> Path:
        """Do a job in this process; the folder it leaves."""
        folder = self.folder(spec)
        train_in(folder)
        return folder

    def copy(self, folder: Path) -> Path:
        """The same job once more."""
        return shutil.copytree(folder, self.workspace.job(new_id("copy")))


def train_in(folder: Path, switch: Any = None) -> None:
    """What the worker's main function does after its imports, without the process around it."""
    from studio.jobs.spec import read_train_spec
    from studio.worker import train
    from studio.worker.stop import StopSwitch

    events = EventWriter(folder / names.EVENTS)
    train.run(folder, read_train_spec(folder / names.SPEC), events, switch or StopSwitch())


def run_worker(folder: Path, module: str = "studio.worker") -> Ended:
    """Do a job in its own process, as the studio does."""
    return wait_for_end(local.launch(module, folder), folder)


def wait_for_end(process: Any, folder: Path) -> Ended:
    """Wait for a worker's end; end it when it takes too long."""
    try:
        code = process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
    return Ended(code, read_events(folder / names.EVENTS), (folder / names.LOG).read_text(encoding="utf-8"))


def wait_until(process: Any, folder: Path, is_it: Any) -> None:
    """Wait until one of the events is the wanted one."""
    end = time.monotonic() + PATIENCE
    while not any(is_it(event) for event in read_events(folder / names.EVENTS)):
        assert process.poll() is None, (folder / names.LOG).read_text(encoding="utf-8")
        assert time.monotonic() < end, "the event did not come"
        time.sleep(0.05)


def of_kind(folder: Path, kind: type) -> list[Any]:
    """The folder's events of one kind."""
    return [event for event in read_events(folder / names.EVENTS) if isinstance(event, kind)]


def values_of(folder: Path, name: str) -> list[float]:
    """One metric, in the order of its events."""
    from studio.jobs.events import Metrics

    return [event.values[name] for event in of_kind(folder, Metrics) if name in event.values]


def tree_hash(folder: Path) -> dict[str, str]:
    """File → hash, of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def learned_bytes(folder: Path) -> bytes:
    """The weights of a job's adapter."""
    return (folder / names.ADAPTER / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Lab:
    """The laboratory of the worker's tests."""
    root = tmp_path_factory.mktemp("lab")
    workspace = Workspace(root / "workspace").prepare()
    return Lab(
        workspace,
        tiny_model,
        import_rows(workspace, write_rows(root / "instructions.jsonl", instruction_rows())),
        import_rows(workspace, write_rows(root / "preferences.jsonl", preference_rows())),
    )


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of the same shape with other weights."""
    return make_tiny_model(tmp_path_factory.mktemp("other") / "other-llama", seed=7)


def _settle() -> None:
    """Tell the garbage collector that the libraries stay: it looks through them after every training otherwise.

    That took a third of a short training's time.
    """
    import studio.worker.train  # noqa: F401 - what a worker imports
    from studio.methods.objectives import OBJECTIVES

    for objective in OBJECTIVES.values():
        objective.trainer()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def short_trainings() -> Iterator[None]:
    """What a job does once and hundreds of jobs in one process do again and again is done once.

    One thread: a tiny model on two waits more than it computes, and the longer the busier the machine is.
    """
    import jinja2
    import torch

    torch.set_num_threads(1)
    _settle()
    environment = local.worker_environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "worker_environment", lambda: {**environment(), "OMP_NUM_THREADS": "1"})
        # Every save compiles the template of a model card, and asks for the versions of what is installed.
        patch.setattr(jinja2.Environment, "compile", lru_cache(64)(jinja2.Environment.compile))
        for name in ("version", "metadata"):
            patch.setattr(metadata, name, cache(getattr(metadata, name)))
        yield
