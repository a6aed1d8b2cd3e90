"""/api/merging: what the merge form asks while the sliders move. Only POST /api/merging itself starts something."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from studio.jobs.studio import Studio
from studio.ui.i18n import language_of
from studio.ui.merge_room import MergeRoom

Values = Annotated[dict[str, Any], Body()]


class MergeRoutes:
    """The routes below /api/merging. All are plain functions: they run beside the event loop, not in it."""

    def __init__(self, studio: Studio) -> None:
        self._room = MergeRoom(studio)

    def router(self) -> APIRouter:
        """All of them, to be included in the application."""
        router = APIRouter(prefix="/api/merging")
        router.get("")(self._room.menus)
        router.post("/figures")(self.figures)
        router.post("")(self.start)
        return router

    def figures(self, values: Values, request: Request) -> dict[str, Any]:
        """Norms, cosines and conflicts of the chosen adapters, and why they cannot be merged so, if they cannot."""
        return self._room.figures(values, language_of(request.headers))

    def start(self, values: Values) -> dict[str, str]:
        """Start a merge; the job's id."""
        return {"job": self._room.start(values)}
