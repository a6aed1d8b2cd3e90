"""The examples of a data set as its steps leave them: a file named by its hash, which nothing changes any more."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

from studio.data.conversion import Tell, example_line
from studio.data.dataset import read_record, snapshot_path
from studio.data.rows import RowsFile
from studio.data.steps import apply_steps, read_steps
from studio.errors import UserError
from studio.workspace import read_json, write_json

CURRENT = "current.json"  # the hash and the number of the examples after the steps
TOLD_EVERY = 5_000  # rows


def take_snapshot(folder: Path, *, tell: Tell = lambda share, known: None) -> dict[str, Any]:
    """Apply the steps, keep what they leave, and note it as current. Raises UserError when they leave nothing."""
    record, steps = read_record(folder), read_steps(folder)
    changing = [step for step in steps if step.remedy != "keep"]
    if not changing:
        (folder / CURRENT).unlink(missing_ok=True)
        return {"sha256": record.sha256, "rows": record.rows}
    source = RowsFile.open(folder)
    digest, rows = hashlib.sha256(), 0
    staging = snapshot_path(folder, f".staging-{secrets.token_hex(4)}")
    staging.parent.mkdir(exist_ok=True)
    try:
        with staging.open("wb") as file:
            for _, example in apply_steps(source.numbered_examples(), changing):
                line = example_line(example)
                digest.update(line)
                file.write(line)
                rows += 1
                if not rows % TOLD_EVERY:
                    tell(rows / max(1, len(source)), {"rows": rows})
        if not rows:
            raise UserError("That would leave no row at all.", "Drop fewer rows.")
        staging.rename(snapshot_path(folder, digest.hexdigest()))
    finally:
        staging.unlink(missing_ok=True)
    current = {"sha256": digest.hexdigest(), "rows": rows}
    write_json(folder / CURRENT, current)
    return current


def read_current(folder: Path) -> dict[str, Any]:
    """{sha256, rows} of what a job would learn from now. Raises UserError when there is no such data set."""
    record = read_record(folder)
    found = read_json(folder / CURRENT)
    return dict(found) if found else {"sha256": record.sha256, "rows": record.rows}
