"""A data set of the Hub → a JSON Lines file: streamed, so that a thousand rows cost a thousand rows."""

import errno
import json
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from studio.data.conversion import Tell
from studio.errors import UserError
from studio.hub import check_hub_answers, network_errors, unreachable

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
NAME = re.compile(r"[\w.-]{0,100}")
SPLIT = re.compile(r"([\w.-]{1,100})(?:\[(\d{0,9}):(\d{0,9})\])?")  # train, or a slice of it: train[1000:2000]
MOST_ROWS = 5_000_000
TOLD_EVERY = 200  # rows


def check_request(hub_id: str, subset: str, split: str, limit: int) -> None:
    """Raise UserError when this cannot be asked of the Hub."""
    if not HUB_ID.fullmatch(hub_id):
        raise UserError(f"{hub_id[:80]!r} is not the id of a data set.", "Write organisation/name.")
    if not NAME.fullmatch(subset):
        raise UserError(f"{subset[:80]!r} is not the name of a subset.", "Use letters, digits, - and _.")
    slice_of(split)
    if not 1 <= limit <= MOST_ROWS:
        raise UserError(f"{limit} rows cannot be asked for.", f"Choose from 1 to {MOST_ROWS:,}.")


def slice_of(split: str) -> tuple[str, int, int | None]:
    """(name, first row, row to stop before) of a split or a slice of one. Raises UserError."""
    found = SPLIT.fullmatch(split)
    if found is None:
        raise UserError(f"{split[:80]!r} is not a split.", "Write for example train, or train[1000:2000].")
    name, first, stop = found.groups()
    begin, end = int(first or 0), int(stop) if stop else None
    if end is not None and end <= begin:
        raise UserError(f"The slice {split[:80]!r} holds no row.", "Write for example train[1000:2000].")
    return name, begin, end


def fetch_rows(file: Path, *, hub_id: str, subset: str, split: str, limit: int, tell: Tell) -> dict[str, Any]:
    """Write the first `limit` rows of a split, or of a slice of it, to `file`.

    Raises UserError: unknown, gated, no network …
    """
    check_request(hub_id, subset, split, limit)
    check_hub_answers(hub_id)
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        # Data sets are read as files alone: scripts of a repository were never run, and cannot be since datasets 4.
        name, begin, end = slice_of(split)
        stream: Iterable[dict[str, Any]] = load_dataset(hub_id, subset or None, split=name, streaming=True)
        count = write_rows(file, islice(stream, begin, end), limit, tell)
    except DatasetNotFoundError:
        raise UserError(
            f"The Hub has no data set {hub_id}, or it wants to know who asks.",
            "Check the spelling: organisation/name; for a gated one run `hf auth login` first.",
        ) from None
    except (DatasetsError, ValueError) as error:
        raise UserError(f"{hub_id}: {str(error)[:300]}", "Check subset and split.") from None
    except network_errors(OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # told as a full disk by who waits for this process
        raise unreachable(hub_id) from None
    return {"rows": count}


def write_rows(file: Path, rows: Iterable[dict[str, Any]], limit: int, tell: Tell) -> int:
    """Rows as JSON Lines; returns how many. Raises UserError for what JSON cannot hold (pictures, sound)."""
    count = 0
    with file.open("w", encoding="utf-8") as output:
        for count, row in enumerate(islice(rows, limit), start=1):
            try:
                output.write(json.dumps(row, ensure_ascii=False) + "\n")
            except TypeError as error:
                raise UserError(f"Row {count} holds more than text: {error}.", "Choose a data set of texts.") from None
            if not count % TOLD_EVERY:
                tell(count / limit, {"rows": count})
    return count
