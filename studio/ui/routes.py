"""Our own routes beside Gradio's: what the page's widgets ask."""

from fastapi import APIRouter

from studio.jobs.studio import Studio
from studio.ui.adapter_room import AdapterRoom
from studio.ui.adapter_routes import AdapterRoutes
from studio.ui.arena_routes import ArenaRoutes
from studio.ui.data_room import DataRoom
from studio.ui.dataset_routes import DatasetRoutes
from studio.ui.job_routes import JobRoutes
from studio.ui.live import LiveRoutes
from studio.ui.memory_room import MemoryRoom
from studio.ui.memory_routes import MemoryRoutes
from studio.ui.merge_routes import MergeRoutes


def all_routers(studio: Studio, room: DataRoom) -> list[APIRouter]:
    """All of them, to be included in the application."""
    return [
        LiveRoutes(studio).router(),
        DatasetRoutes(room).router(),
        JobRoutes(studio).router(),
        MemoryRoutes(MemoryRoom(studio)).router(),
        AdapterRoutes(AdapterRoom(studio)).router(),
        MergeRoutes(studio).router(),
        ArenaRoutes(studio).router(),
    ]
