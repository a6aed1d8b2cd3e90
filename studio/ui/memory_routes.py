"""/api/memory: what the Memory tab asks as you type, and what a job's card told. Only `retry` changes something."""

from typing import Any

from fastapi import APIRouter

from studio.memory.shapes import UnknownArchitecture
from studio.ui.memory_jobs import memory_of_finished, probe_job, retry
from studio.ui.memory_requests import MemoryWish
from studio.ui.memory_room import MemoryRoom


class MemoryRoutes:
    """The routes below /api/memory. All are plain functions: they run beside the event loop, not in it."""

    def __init__(self, room: MemoryRoom) -> None:
        self._room = room

    def router(self) -> APIRouter:
        """All of them, to be included in the application."""
        router = APIRouter(prefix="/api/memory")
        router.get("/menus")(self._room.menus)
        router.get("/datasets/{dataset_id}")(self.lengths)
        router.post("")(self.estimate)
        router.post("/simulate")(self.simulate)
        router.get("/jobs/{job_id}")(self.job)
        router.post("/jobs/{job_id}/retry/{way}")(self.retry)
        router.post("/jobs/{job_id}/probe")(self.probe)
        return router

    def estimate(self, wish: MemoryWish) -> dict[str, Any]:
        """The estimate of a form, in milliseconds; {"unknown": sentence} where only a simulation can tell."""
        try:
            return self._room.estimate(wish.model.strip(), wish.card, wish.setup())
        except UnknownArchitecture as error:
            return {"unknown": str(error)}

    def lengths(self, dataset_id: str, model: str) -> dict[str, Any]:
        """What the form takes from a data set: the longest example's tokens and the share that is learned."""
        return self._room.lengths(dataset_id, model.strip())

    def simulate(self, wish: MemoryWish) -> dict[str, Any]:
        """The simulation of a form, in seconds."""
        return self._room.simulate(wish.model.strip(), wish.card, wish.setup())

    def job(self, job_id: str) -> dict[str, Any]:
        """What a job measured on its card, and its post-mortem."""
        return memory_of_finished(self._room.studio, job_id)

    def retry(self, job_id: str, way: int) -> dict[str, str]:
        """Start a job that ran out of memory anew, under one of the ways that its post-mortem offers."""
        return {"job": retry(self._room.studio, job_id, way)}

    def probe(self, job_id: str) -> dict[str, Any]:
        """Try a job's longest batch on this machine's card; takes as long as loading the model."""
        return probe_job(self._room.studio, job_id)
