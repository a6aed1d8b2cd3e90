"""/api/playground: token counts as you type, and the tables of prompt lists. Text goes out as JSON, never as markup."""

import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from studio.jobs.studio import Studio
from studio.playground.batch import Batch, BatchDesk, jsonl, table
from studio.playground.client import ChatClient, Settings, chat_target
from studio.playground.conversations import LONGEST_TEXT, MOST_TURNS
from studio.playground.servers import wait_for_endpoint
from studio.playground.thumbs import rate_answer
from studio.ui.play_prompts import PromptHandlers

BatchId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]


class Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=LONGEST_TEXT)


class CountWish(BaseModel):
    """A conversation with what is being typed."""

    model_config = ConfigDict(extra="forbid")

    choice: str = Field(min_length=1, max_length=1000)
    messages: list[Said] = Field(min_length=1, max_length=MOST_TURNS)


class ThumbWish(BaseModel):
    """A thumb for an answer that `choice`, called `name` in the menus, gave to `messages`; None takes it back."""

    model_config = ConfigDict(extra="forbid")

    choice: str = Field(min_length=1, max_length=1000)
    name: str = Field(min_length=1, max_length=200)
    messages: list[Said] = Field(min_length=1, max_length=MOST_TURNS)
    answer: str = Field(min_length=1, max_length=LONGEST_TEXT)
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1, le=8192)
    voter: str = Field(min_length=1, max_length=80)
    good: bool | None
    finish: str = Field(default="", max_length=40)


class PlayRoutes:
    """The routes below /api/playground. All are plain functions: they run beside the event loop, not in it."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self.desk = studio, BatchDesk(studio)

    def router(self) -> APIRouter:
        """All of them, to be included in the application."""
        router = APIRouter(prefix="/api/playground")
        router.post("/tokens")(self.tokens)
        router.post("/thumb")(self.thumb)
        router.get("/batches/{batch_id}")(self.batch)
        router.post("/batches/{batch_id}/cancel")(self.cancel)
        router.get("/batches/{batch_id}/answers.csv")(self.csv)
        router.get("/batches/{batch_id}/answers.jsonl")(self.jsonl)
        return router

    def tokens(self, wish: CountWish) -> dict[str, int | None]:
        """{"tokens", "context"}; None for both where the model is not in memory: typing loads none."""
        target = chat_target(self._studio.store, self._studio.workspace, wish.choice)
        if target.base_model not in self._studio.servers.running():
            return {"tokens": None, "context": None}
        client = ChatClient(wait_for_endpoint(self._studio, target.base_model, threading.Event()))
        messages: Any = [one.model_dump() for one in wish.messages]
        told = client.tokens(target.model, messages)
        return {"tokens": told.tokens, "context": told.context}

    def thumb(self, wish: ThumbWish) -> dict[str, str]:
        """Keep it beside the arena's: thumbs become a KTO data set there."""
        rate_answer(
            self._studio,
            choice=wish.choice,
            name=wish.name,
            prompt=[{"role": one.role, "content": one.content} for one in wish.messages],
            answer=wish.answer,
            settings=Settings(temperature=wish.temperature, top_p=wish.top_p, max_tokens=wish.max_tokens),
            voter=wish.voter,
            good=wish.good,
            finish=wish.finish,
        )
        return {"done": "thumb"}

    def batch(self, batch_id: BatchId, since: int = -1) -> dict[str, Any]:
        """How far a table is, and its rows from `since` on."""
        return PromptHandlers(self._studio, self.desk).view(batch_id, since)

    def cancel(self, batch_id: BatchId) -> dict[str, str]:
        """Ask nothing more."""
        self.desk.cancel(batch_id)
        return {"done": "cancel"}

    def csv(self, batch_id: BatchId) -> StreamingResponse:
        """The table for a spreadsheet."""
        return self._download(batch_id, table, "csv", "text/csv; charset=utf-8")

    def jsonl(self, batch_id: BatchId) -> StreamingResponse:
        """The table with what was measured, one prompt a line."""
        return self._download(batch_id, jsonl, "jsonl", "application/x-ndjson")

    def _download(
        self, batch_id: str, lines: Callable[[Batch], Iterator[bytes]], ending: str, kind: str
    ) -> StreamingResponse:
        disposition = {"content-disposition": f'attachment; filename="answers.{ending}"'}
        return StreamingResponse(lines(self.desk.get(batch_id)), media_type=kind, headers=disposition)
