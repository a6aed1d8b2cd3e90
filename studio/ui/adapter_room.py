"""What the Adapters tab shows and does, in plain values: the shelf, imports, looking into them. No Gradio in here."""

import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.adapters.bringing import bring_in, checked_hub_id, fetch
from studio.adapters.bundle import CONFIG
from studio.adapters.record import ImportedAdapters, ImportSource
from studio.base_models import STARTER
from studio.data.desk import Desk
from studio.data.isolation import Cancelled, Told
from studio.errors import UserError
from studio.jobs.adapter_shelf import bases_here, find, inspect, shelf
from studio.jobs.studio import Studio
from studio.ui.server_folder import MOST_ENTRIES, resolve

REMEMBERED = 50  # imports that can be tried again with another base
ARRIVAL = 10.0  # seconds that Gradio may take to put an upload into its place


@dataclass(frozen=True, kw_only=True)
class Wish:
    """An import as the user wants it: of files, or of `hub_id`."""

    source: ImportSource
    paths: tuple[Path, ...] = ()
    hub_id: str = ""
    base: str = ""
    name: str = ""


@dataclass
class AdapterRoom:
    """One a studio. All names come from a browser and are checked where they become a path."""

    studio: Studio
    desk: Desk = field(init=False)
    imported: ImportedAdapters = field(init=False)
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.desk, self.imported = Desk(self.studio.workspace), ImportedAdapters(self.studio.workspace)

    @property
    def limit(self) -> int:
        """Bytes that an adapter from outside may have."""
        return self.studio.settings.upload_limit_mb * 1024**2

    def listing(self) -> dict[str, Any]:
        """Everything on the shelf, and what the import offers."""
        bases = bases_here(self.studio.workspace, self.studio.model_roots)
        return {
            "adapters": [entry.to_dict() for entry in shelf(self.studio.workspace)],
            "unreadable": self.imported.unreadable(),
            "bases": [{"name": name, "title": STARTER if name == "starter" else name} for name in bases],
            "limit": self.limit,
        }

    # ---- imports ----

    def start_uploaded(self, paths: list[str], *, base: str, name: str) -> str:
        """Begin the import of uploaded files; the task's id. Raises UserError."""
        until = time.monotonic() + ARRIVAL
        while not all(Path(path).is_file() for path in paths) and time.monotonic() < until:
            time.sleep(0.1)  # a large one is moved into its place after the upload was answered
        files = tuple(self.studio.workspace.uploaded_file(path) for path in paths)
        title = files[0].name if len(files) == 1 else f"{files[0].name} + {len(files) - 1}"
        return self._start(
            Wish(source=ImportSource(kind="upload", name=title[-300:]), paths=files, base=base, name=name)
        )

    def start_folder(self, root: int, path: str, *, base: str, name: str) -> str:
        """Begin the import of a folder or zip that the operator offers. Raises UserError."""
        place = resolve(self.studio.settings.data_roots, root, path)
        if not (place / CONFIG).is_file() and not (place.is_file() and place.suffix.lower() == ".zip"):
            raise UserError(f"There is no adapter in {path!r}.", f"Choose a folder with {CONFIG}, or a zip.")
        return self._start(
            Wish(source=ImportSource(kind="folder", name=place.name), paths=(place,), base=base, name=name)
        )

    def start_hub(self, hub_id: str, *, base: str, name: str) -> str:
        """Begin to fetch an adapter of the Hub and to bring it in. Raises UserError."""
        checked_hub_id(hub_id)
        return self._start(Wish(source=ImportSource(kind="hub", name=hub_id), hub_id=hub_id, base=base, name=name))

    def start_again(self, task: str, base: str) -> str:
        """Begin an import once more for another base model. Raises UserError when its files are gone."""
        with self._lock:
            wish = self._wishes.get(task)
        if wish is None or not all(path.exists() for path in wish.paths):
            raise UserError("Those files are not here any more.", "Choose them again.")
        return self._start(replace(wish, base=base))

    def folder(self, root: int, path: str) -> dict[str, Any]:
        """A folder that the operator offers: {"roots", "path", "folders", "zips", "adapter": whether it is one}."""
        roots = self.studio.settings.data_roots
        place = resolve(roots, root, path)
        if not place.is_dir():
            raise UserError(f"There is no folder {path!r}.", "Choose one of the list.")
        entries = [one for one in sorted(place.iterdir()) if one.name[0] != "." and not one.is_symlink()]
        return {
            "roots": [one.name or str(one) for one in roots],
            "path": path.strip("/"),
            "folders": [one.name for one in entries if one.is_dir()][:MOST_ENTRIES],
            "zips": [one.name for one in entries if one.is_file() and one.suffix.lower() == ".zip"][:MOST_ENTRIES],
            "adapter": (place / CONFIG).is_file(),
        }

    def _start(self, wish: Wish) -> str:
        bases = bases_here(self.studio.workspace, self.studio.model_roots, wish.base)

        def work(told: Told, cancelled: threading.Event) -> dict[str, Any]:
            with_files = wish.paths or (self._fetched(wish.hub_id, told, cancelled),)
            try:
                return bring_in(
                    with_files,
                    self.studio.workspace,
                    source=wish.source,
                    bases=bases,
                    base_model=wish.base,
                    name=wish.name,
                    limit=self.limit,
                    told=told,
                    cancelled=cancelled,
                ).model_dump()
            finally:
                if wish.hub_id:
                    shutil.rmtree(with_files[0].parent, ignore_errors=True)

        task = self.desk.start("import", work)
        with self._lock:
            self._wishes[task] = wish
            while len(self._wishes) > REMEMBERED:
                del self._wishes[next(iter(self._wishes))]
        return task

    def _fetched(self, hub_id: str, told: Told, cancelled: threading.Event) -> Path:
        folder = self.studio.workspace.new_upload("adapter")
        folder.mkdir()
        try:
            fetch(hub_id, folder, limit=self.limit, told=told, cancelled=cancelled)
        except UserError:
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise
        return folder

    # ---- looking into them ----

    def start_inspection(self, names: list[str]) -> str:
        """Begin to look into adapters; the task's id. Raises UserError for one that is not there."""
        for name in names:
            find(self.studio.workspace, name)

        def work(told: Told, cancelled: threading.Event) -> dict[str, Any]:
            def tell(share: float, known: dict[str, Any]) -> None:
                if cancelled.is_set():
                    raise Cancelled("Cancelled.")
                told(share, known)

            return inspect(self.studio.workspace, names, self.studio.model_roots, tell)

        return self.desk.start("inspection", work)
