"""/api/arena: what the Arena tab asks for and does. GET changes nothing; before a vote nothing says who answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from studio.jobs.studio import Studio
from studio.playground.feedback_data import MAKERS, Kind
from studio.playground.votes import voter_name
from studio.ui.arena_data import make_dataset
from studio.ui.arena_requests import Choice, DatasetWish, RewriteWish, RoundWish, Signed, ThumbWish
from studio.ui.arena_room import ArenaRoom
from studio.ui.i18n import language_of, words

Voter = Annotated[str, Query(max_length=200)]
Choices = Annotated[list[Choice], Query(max_length=40)]


class ArenaRoutes:
    """The routes below /api/arena. All are plain functions: they run beside the event loop, not in it."""

    def __init__(self, studio: Studio) -> None:
        self._room = ArenaRoom(studio)

    def router(self) -> APIRouter:
        """All of them, to be included in the application."""
        router = APIRouter(prefix="/api/arena")
        router.get("/menus")(self._room.menus)
        router.get("/prompts")(self.prompts)
        router.get("/table")(self.table)
        router.get("/data/{kind}")(self.preview)
        router.post("/data")(self.data)
        router.post("/rounds")(self.open)
        router.get("/rounds/{round_id}")(self._room.look)
        router.post("/rounds/{round_id}/vote")(self._room.vote)
        router.post("/rounds/{round_id}/leave")(self.leave)
        router.post("/rounds/{round_id}/retract")(self.retract)
        router.post("/rounds/{round_id}/rewrite")(self.rewrite)
        router.post("/rounds/{round_id}/thumb")(self.thumb)
        return router

    def prompts(self, request: Request, dataset: str, contender: Choices) -> dict[str, Any]:
        """How many prompts of a data set are new to all contenders."""
        return self._room.prompts(request, dataset, contender)

    def open(self, request: Request, wish: RoundWish) -> dict[str, Any]:
        """Begin a round."""
        return self._room.open(request, wish)

    def leave(self, round_id: str, wish: Signed) -> dict[str, str]:
        """Stop a round's answers."""
        self._room.arena.leave(round_id, voter_name(wish.voter))
        return {"done": "leave"}

    def retract(self, round_id: str, wish: Signed) -> dict[str, str]:
        """Take a vote back."""
        self._room.store.retract(round_id, voter_name(wish.voter))
        return {"done": "retract"}

    def rewrite(self, round_id: str, wish: RewriteWish) -> dict[str, str]:
        """Keep another text for an answer."""
        self._room.store.rewrite(round_id, voter_name(wish.voter), wish.side, wish.text)
        return {"done": "rewrite"}

    def thumb(self, round_id: str, wish: ThumbWish) -> dict[str, str]:
        """Keep a thumb for an answer."""
        self._room.store.rate_shown(round_id, voter_name(wish.voter), wish.side, wish.good)
        return {"done": "thumb"}

    def table(
        self,
        request: Request,
        dataset: Annotated[str, Query(max_length=80)] = "",
        voter: Voter = "",
        contender: Choices = [],  # noqa: B006 - FastAPI copies it
    ) -> dict[str, Any]:
        """Standings, latest votes and filters."""
        return self._room.table(request, dataset, voter, contender)

    def preview(self, kind: Kind) -> dict[str, Any]:
        """How many rows the votes would make."""
        return MAKERS[kind](self._room.store.read()).told()

    def data(self, request: Request, wish: DatasetWish) -> dict[str, Any]:
        """Make a data set of the votes."""
        name = words(language_of(request.headers))[f"arena_set_{wish.kind}"]
        return make_dataset(self._room.studio, self._room.store, wish.kind, name)
