"""Try a job's longest batch on the card, in a process of its own."""

import subprocess
import sys
from typing import Any

from studio import workspace as names
from studio.errors import UserError
from studio.settings import worker_environment
from studio.workspace import Workspace, read_json

WORKER = "studio.worker.probe"
SECONDS = 900.0


def probe(workspace: Workspace, job_id: str) -> dict[str, Any]:
    """Predicted and measured bytes of the job's longest batch; `out_of_memory` when it did not fit. Raises
    UserError."""
    folder = workspace.job(job_id)
    if not (folder / names.SPEC).is_file():
        raise UserError(f"There is no job {job_id}.", "`python -m studio jobs list` shows them.")
    (folder / names.PROBE).unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", WORKER, str(folder.absolute())],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=worker_environment(),
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"The probe took more than {SECONDS / 60:.0f} minutes.", "Take a smaller batch.") from None
    record = read_json(folder / names.PROBE)
    if not isinstance(record, dict):
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise UserError(f"The probe failed: {last[:200]}.", "Start the job; its log will say more.")
    if "error" in record:
        raise UserError(record["error"]["message"], record["error"]["hint"])
    return record
