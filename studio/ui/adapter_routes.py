"""/api/adapters: what the Adapters tab asks for and does. GET changes nothing; text goes out as JSON."""

from typing import Any

from fastapi import APIRouter, Request

from studio.jobs.lineage import lineage
from studio.ui.adapter_requests import FolderWish, HubWish, ImportWish, InspectWish, NameWish, UploadWish
from studio.ui.adapter_room import AdapterRoom
from studio.ui.i18n import language_of
from studio.ui.refusals import told_view


class AdapterRoutes:
    """The routes below /api/adapters. All are plain functions: they run beside the event loop, not in it."""

    def __init__(self, room: AdapterRoom) -> None:
        self._room = room

    def router(self) -> APIRouter:
        """All of them, to be included in the application; the fixed ones before those with an id."""
        router = APIRouter(prefix="/api/adapters")
        router.get("")(self._room.listing)
        router.get("/lineage")(self.lineage)
        router.get("/folder")(self.folder)
        router.get("/tasks/{task_id}")(self.task)
        router.post("/tasks/{task_id}/cancel")(self.cancel)
        router.post("/tasks/{task_id}/again")(self.again)
        router.post("/upload")(self.upload)
        router.post("/folder")(self.from_folder)
        router.post("/hub")(self.hub)
        router.post("/inspect")(self.inspect)
        router.post("/{adapter_id}/rename")(self.rename)
        router.post("/{adapter_id}/delete")(self.delete)
        return router

    def lineage(self) -> dict[str, Any]:
        """What came from what: nodes with their places, and edges."""
        return lineage(self._room.studio.workspace).to_dict()

    def folder(self, root: int = 0, path: str = "") -> dict[str, Any]:
        """A folder that the operator offers."""
        return self._room.folder(root, path)

    def task(self, task_id: str, request: Request) -> dict[str, Any]:
        """How far an import or an inspection is, and its result."""
        return told_view(self._room.desk.view(task_id), language_of(request.headers))

    def cancel(self, task_id: str) -> dict[str, str]:
        """Do not go on."""
        self._room.desk.cancel(task_id)
        return {"done": "cancel"}

    def again(self, task_id: str, wish: ImportWish) -> dict[str, str]:
        """Import the same files for another base model."""
        return {"task": self._room.start_again(task_id, wish.base.strip())}

    def upload(self, wish: UploadWish) -> dict[str, str]:
        """Begin the import of uploaded files."""
        return {"task": self._room.start_uploaded(wish.paths, base=wish.base.strip(), name=wish.name)}

    def from_folder(self, wish: FolderWish) -> dict[str, str]:
        """Begin the import of a folder or zip of this machine."""
        return {"task": self._room.start_folder(wish.root, wish.path, base=wish.base.strip(), name=wish.name)}

    def hub(self, wish: HubWish) -> dict[str, str]:
        """Begin the import of an adapter of the Hub."""
        return {"task": self._room.start_hub(wish.id.strip(), base=wish.base.strip(), name=wish.name)}

    def inspect(self, wish: InspectWish) -> dict[str, str]:
        """Begin to look into adapters."""
        return {"task": self._room.start_inspection(wish.names)}

    def rename(self, adapter_id: str, wish: NameWish) -> dict[str, str]:
        """Call an imported adapter something else."""
        return {"name": self._room.imported.rename(adapter_id, wish.name).name}

    def delete(self, adapter_id: str) -> dict[str, str]:
        """Delete an imported adapter."""
        self._room.imported.remove(adapter_id)
        return {"done": "delete"}
