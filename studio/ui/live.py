"""What one poller per browser tab reads once a second, and the few things it may ask for."""

import shutil
import threading
import time
from typing import Any

import psutil
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from studio import hardware
from studio.base_models import STARTER
from studio.errors import UserError
from studio.jobs.chain import next_objectives
from studio.jobs.merge_lineage import lineage
from studio.jobs.store import JobView
from studio.jobs.studio import Studio
from studio.jobs.sweep import sweep_of
from studio.methods.objectives import OBJECTIVES
from studio.ui.charts import figures, new_points
from studio.workspace import check_id

MACHINE_REFRESH = 4.0  # seconds; asking the card's driver takes a while
REFRESH = 0.7  # seconds; however many tabs ask, the jobs are looked at so often


class JobLedger:
    """The list of jobs with a version for every entry, so that a poll carries only what changed."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[int, dict[str, Any]]] = {}
        self._gone: dict[str, int] = {}
        self._looked = 0.0
        # Not 0: after a restart of the studio, tabs that know an older list must get the whole one.
        self._first = self.version = int(time.time()) % 10**8 * 10

    def changes(self, since: int) -> dict[str, Any]:
        """{} when nothing changed since `since`, else the entries that did, and the new version."""
        with self._lock:
            if time.monotonic() - self._looked > REFRESH:
                self._look()
                self._looked = time.monotonic()
            if since == self.version:
                return {}
            known = since if self._first <= since < self.version else -1
            entries = [entry for version, entry in self._entries.values() if version > known]
            gone = [job_id for job_id, version in self._gone.items() if version > known]
            return {"list": self.version, "jobs": entries, "gone": gone, "whole": known == -1}

    def _look(self) -> None:
        store = self._studio.store
        entries = {view.id: list_entry(view) for view in store.views()}
        entries |= {job_id: unreadable_entry(job_id) for job_id in store.unreadable}
        changed = [job_id for job_id, entry in entries.items() if self._entries.get(job_id, (0, None))[1] != entry]
        gone = [job_id for job_id in self._entries if job_id not in entries]
        if not changed and not gone:
            return
        self.version += 1
        for job_id in changed:
            self._entries[job_id] = (self.version, entries[job_id])
        for job_id in gone:
            del self._entries[job_id]
            self._gone[job_id] = self.version


def list_entry(view: JobView) -> dict[str, Any]:
    """A job in the list at the side."""
    loss = view.state.value("loss")
    return {
        "id": view.id,
        "kind": view.spec.kind,
        "name": view.name,
        "status": view.status,
        "step": view.state.step,
        "max_steps": view.state.max_steps,
        "loss": None if loss is None else round(loss, 3),
        "created": view.created,
        **_share(view),
    }


def _share(view: JobView) -> dict[str, float]:
    """How much is done, of a job that has no steps; nothing for the others, whose entries are asked for often."""
    return {} if view.state.share is None else {"share": round(view.state.share, 3)}


def unreadable_entry(job_id: str) -> dict[str, Any]:
    """A job whose spec cannot be read: there to be seen and deleted."""
    return {
        "id": job_id,
        "kind": "",
        "name": job_id,
        "status": "failed",
        "step": 0,
        "max_steps": 0,
        "loss": None,
        "created": "",
    }


def job_summary(view: JobView) -> dict[str, Any]:
    """The job that a page shows: what its header and figures need."""
    state, spec = view.state, view.spec
    left = state.seconds_left
    return {
        "id": view.id,
        "name": view.name,
        "status": view.status,
        "message": view.message,
        "held": view.held,
        "phase": state.phase,
        "kind": spec.kind,
        "objective": view.objective,
        "base_model": STARTER if spec.base_model == "starter" else spec.base_model,
        "tuner": view.tuner,
        "quantization": view.quantization,
        "next": next_objectives(view.objective, view.tuner),
        "step": state.step,
        "max_steps": state.max_steps,
        "left": None if left is None else round(left),
        "loss": state.value("loss"),
        "eval_loss": state.value("eval_loss"),
        "learning_rate": state.value("learning_rate"),
        "tokens_per_second": state.value("tokens_per_second"),
        "warnings": state.warnings,
        "unresponsive": view.unresponsive,
        "revision": state.revision,
        **_share(view),
    }


class LiveRoutes:
    """The routes below /api."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._ledger = JobLedger(studio)
        self._machine: tuple[float, dict[str, Any]] = (0.0, {})
        self._busy, self._looking = hardware.BusyMeter(), threading.Lock()

    def router(self) -> APIRouter:
        """All of them, to be included in the application."""
        router = APIRouter(prefix="/api")
        router.get("/live")(self.live)
        router.get("/system")(self.system)
        router.get("/figures")(self.figures)
        router.post("/jobs/{job_id}/{action}")(self.act)
        return router

    def live(
        self,
        job: str = "",
        since: int = Query(default=0, ge=0),
        tag: str = "",
        known: int = Query(default=0, alias="list"),
        log: int | None = None,
    ) -> Response:
        """What changed since the last poll; 204 when nothing did."""
        body: dict[str, Any] = self._ledger.changes(known)
        if job:
            body |= selected_job(self._studio, job, since, tag)
            if log is not None:
                body |= self._log(job, log)
        return JSONResponse(body) if body else Response(status_code=204)

    def system(self) -> dict[str, Any]:
        """How busy this machine is."""
        with self._looking:
            if time.monotonic() - self._machine[0] > MACHINE_REFRESH:
                self._machine = (time.monotonic(), machine(self._studio, self._busy.share()))
            return self._machine[1]

    def figures(self, objective: str) -> list[dict[str, Any]]:
        """The charts of an objective, to be drawn once."""
        if objective not in OBJECTIVES:
            raise UserError(f"There is no objective {objective[:40]!r}.")
        return figures(objective)

    def act(self, job_id: str, action: str) -> dict[str, str]:
        """Stop, resume or delete a job, or unload the chats that it waits for."""
        store = self._studio.store
        actions = {
            "stop": store.request_stop,
            "resume": store.resume,
            "delete": store.delete,
            "unload": store.make_room,
        }
        if action not in actions:
            raise UserError(f"A job cannot {action[:40]!r}.")
        actions[action](job_id)
        return {"done": action}

    def _log(self, job: str, offset: int) -> dict[str, Any]:
        text, end = self._studio.store.log_tail(check_id(job, "job"), offset)
        return {"log": {"text": text, "next": end}} if text or offset < 0 else {}


def selected_job(studio: Studio, job_id: str, since: int, tag: str) -> dict[str, Any]:
    """{} when a page that knows `tag` knows everything, else the summary and the points after the first `since`."""
    try:
        view = studio.store.view(job_id)
    except UserError as error:
        return {"missing": error.message} if tag != "missing" else {}
    now = f"{view.state.version}.{view.status}.{int(view.unresponsive)}"
    if now == tag:
        return {}
    points = new_points(view.state, since)
    sweep = sweep_of(studio, job_id)
    merge = lineage(view, studio.workspace)
    summary = {**job_summary(view), "merge": merge, "sweep": sweep.id if sweep else ""}
    return {"job": summary, "tag": now, "points": points, "next": len(view.state.points)}


def machine(studio: Studio, busy: float) -> dict[str, Any]:
    """How busy this machine is: shares from 0 to 1 and words; `busy`: the processor's."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(studio.workspace.root)
    meters = [
        {"name": "cpu", "share": round(busy, 3), "text": f"{100 * busy:.0f} %"},
        {
            "name": "memory",
            "share": memory.percent / 100,
            "text": f"{(memory.total - memory.available) / 1e9:.1f} / {memory.total / 1e9:.0f} GB",
        },
        {"name": "disk", "share": disk.used / disk.total, "text": f"{disk.free / 1e9:.0f} GB", "free": True},
    ]
    cards = [
        {"name": card.name, "share": card.used_bytes / card.total_bytes,
         "text": f"{card.used_bytes / 1024**3:.1f} / {card.total_bytes / 1024**3:.0f} GiB"}
        for card in hardware.gpus()
    ]  # fmt: skip
    alive = studio.supervisor is not None and studio.supervisor.is_alive
    return {"processor": hardware.cpu().name, "meters": meters, "cards": cards, "supervisor": alive}
