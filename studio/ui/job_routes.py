"""/api beside the poller's: a job's code, a sweep's trials, the guide. GET changes nothing; text goes out as JSON."""

import shutil
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from studio.errors import UserError
from studio.jobs.code.bundle import KINDS, JobCode
from studio.jobs.studio import Studio
from studio.jobs.sweep import describe, trials
from studio.methods.guide import read_guide
from studio.ui.i18n import language_of
from studio.workspace import check_id


class JobRoutes:
    """The routes of the Jobs and the Train tab that are not polled."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> APIRouter:
        """All of them, to be included in the application."""
        router = APIRouter(prefix="/api")
        router.get("/guide")(self.guide)
        router.get("/sweeps/{sweep_id}")(self.sweep)
        router.get("/jobs/{job_id}/code")(self.code)
        router.get("/jobs/{job_id}/code.zip")(self.code_zip)
        router.get("/jobs/{job_id}/code/{name}")(self.code_file)
        return router

    def guide(self, request: Request) -> dict[str, dict[str, Any]]:
        """The tables of the guide in the reader's language."""
        language = language_of(request.headers)
        return {name: topic.told(language) for name, topic in read_guide().items()}

    def sweep(self, sweep_id: str) -> dict[str, Any]:
        """{"keys", "metric", "higher", "trials"}: a sweep's jobs, what compares them, the best one marked."""
        found = trials(self._studio, check_id(sweep_id, "sweep"))
        keys = [key.rpartition(".")[2] for key in found[0].values]
        told = [{**vars(trial), "label": describe(trial.values)} for trial in found]
        return {"keys": keys, "metric": found[0].metric, "higher": found[0].higher_is_better, "trials": told}

    def code(self, job_id: str, kind: str = "script") -> dict[str, str]:
        """{"text"} of a file that says the job again, or the {"reason"} why there is none of that kind."""
        job = self._job(job_id)
        try:
            return {"text": job.text(kind)}
        except UserError as error:
            return {"reason": str(error)}

    def code_file(self, job_id: str, name: str) -> Response:
        """The same as a file. Raises UserError with the reason."""
        kinds = {file: kind for kind, file in KINDS.items()}
        if name not in kinds:
            raise UserError(f"There is no file {name[:40]!r}.", f"Choose one of {', '.join(kinds)}.")
        return _download(self._job(job_id).text(kinds[name]).encode(), name, "text/plain; charset=utf-8")

    def code_zip(self, job_id: str) -> Response:
        """All of them with the rows that they read. Raises UserError when a data set is gone."""
        job = self._job(job_id)
        file = self._studio.workspace.new_upload("code.zip")
        try:
            job.zip(file, file.parent / "files")
        except UserError:
            shutil.rmtree(file.parent, ignore_errors=True)
            raise
        gone = BackgroundTask(shutil.rmtree, file.parent, ignore_errors=True)
        return FileResponse(file, filename=f"{job_id}.zip", media_type="application/zip", background=gone)

    def _job(self, job_id: str) -> JobCode:
        return JobCode(self._studio.workspace, self._studio.store.view(job_id))


def _download(content: bytes, name: str, kind: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"}
    return Response(content, media_type=kind, headers=headers)
