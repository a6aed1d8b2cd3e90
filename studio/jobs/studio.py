"""One opened studio: a workspace with its catalog, jobs, queue and chats, shared by the page and the shell."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from studio.catalog import Catalog
from studio.data.dataset import RECORD, DatasetRecord, read_record
from studio.data.isolation import import_file
from studio.errors import UserError
from studio.jobs import merging
from studio.jobs.preflight import allowed_roots, check_start
from studio.jobs.servers import ServerPool
from studio.jobs.spec import MergeSpec, TrainSpec
from studio.jobs.store import JobStore
from studio.jobs.supervisor import Supervisor
from studio.settings import REPOSITORY, Settings
from studio.workspace import Workspace

SAMPLES = REPOSITORY / "samples"


@dataclass(frozen=True)
class Studio:
    """`supervisor` is None where only files are read: the queue is then kept by another process, or by nobody."""

    settings: Settings
    workspace: Workspace
    catalog: Catalog
    store: JobStore
    supervisor: Supervisor | None = None

    @property
    def servers(self) -> ServerPool:
        if self.supervisor is None:
            raise UserError("No studio keeps this workspace.", "Start it with `make run`.")
        return self.supervisor.servers

    def start_job(self, spec: TrainSpec) -> str:
        """Check a spec, make its job and put it into the line; returns the job's id. Raises UserError."""
        check_start(spec, self.workspace, self.settings)
        job_id = self.store.create(spec)
        self.catalog.enqueue(job_id)
        return job_id

    def start_merge(self, spec: MergeSpec) -> str:
        """Check a merge, make its job and put it into the line; returns the job's id. Raises UserError."""
        merging.check_start(spec, self.workspace, self.settings)
        job_id = self.store.create(spec)
        self.catalog.enqueue(job_id)
        return job_id

    def datasets(self) -> list[DatasetRecord]:
        """All data sets, the newest first."""
        folders = [folder for folder in self.workspace.datasets.iterdir() if (folder / RECORD).is_file()]
        records = [read_record(folder) for folder in folders if folder.name[0] != "."]
        return sorted(records, key=lambda record: record.created, reverse=True)

    def sample(self, file: Path) -> DatasetRecord:
        """One of the data sets that ship with the studio, imported on first use."""
        known = [record for record in self.datasets() if record.source_name == file.name]
        if known:
            return known[0]
        record = import_file(file, self.workspace).record
        if record is None:
            raise RuntimeError(f"the sample {file.name} is not a data set")
        return record

    @property
    def model_roots(self) -> tuple[Path, ...] | None:
        """The folders that local base models may lie in; None: any."""
        return allowed_roots(self.workspace, self.settings)


def open_studio(settings: Settings) -> Studio:
    """The studio of a workspace, to read and to put jobs into the line."""
    workspace = Workspace(settings.workspace).prepare()
    catalog = Catalog(workspace.catalog)
    return Studio(settings, workspace, catalog, JobStore(workspace, catalog))


@contextmanager
def keep_studio(settings: Settings) -> Iterator[Studio]:
    """The studio, with its queue kept until the context ends. Raises UserError when another one keeps it."""
    reader = open_studio(settings)
    with reader.workspace.lock():
        reader.workspace.sweep_leftovers()
        supervisor = Supervisor(reader.workspace, reader.catalog, reader.store, ServerPool(reader.workspace))
        supervisor.start()
        try:
            yield Studio(settings, reader.workspace, reader.catalog, reader.store, supervisor)
        finally:
            supervisor.stop()


__all__ = ["SAMPLES", "Studio", "keep_studio", "open_studio"]
