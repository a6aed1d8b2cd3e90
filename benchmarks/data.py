"""A large file becomes a data set: seconds to the first examples, megabytes per CPU-second, memory, and its table."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.scratch import scratch_studio
from studio.data.isolation import import_file
from studio.data.library import Library
from studio.jobs.studio import SAMPLES

RARE = "wombat"  # stands in one row, the last
PAGES = 20


def measure(options: Options) -> list[Figure]:
    """Make the file, import it in the child that uploads are read in, then page, sort and search its rows."""
    with scratch_studio(options.models) as studio:
        file = studio.workspace.root / "large.jsonl"
        rows = write_large_file(file, options.megabytes)
        told: list[float] = []
        before, began = getrusage(RUSAGE_CHILDREN), time.monotonic()

        def hear(share: float, known: dict[str, Any]) -> None:
            if known["examples"] and not told:
                told.append(time.monotonic() - began)

        record = import_file(file, studio.workspace, told=hear).record
        assert record is not None
        assert record.rows == rows
        after = getrusage(RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = file.stat().st_size / 1e6
        made = f"{rows:,} rows, {size:,.0f} MB"
        library = Library(studio.workspace)
        slowest = slowest_pages(library, record.id, record.rows)
    return [
        Figure(name="first examples", value=told[0], unit="s", goal=3.0, note=made),
        Figure(name="checked", value=size / cpu, unit="MB per CPU-s", goal=50.0, more_is_better=True, note=made),
        Figure(name="peak memory of the reader", value=after.ru_maxrss * 1024 / 1e6, unit="MB", goal=800.0),
        *(Figure(name=f"slowest {what}", value=worst, unit="ms", goal=300.0) for what, worst in slowest.items()),
    ]


def slowest_pages(library: Library, dataset: str, rows: int) -> dict[str, float]:
    """The slowest of PAGES pages in milliseconds, for every way to ask; the first of all opens the index."""
    chance = random.Random(0)

    def offset() -> int:
        return chance.randrange(rows)

    ways: dict[str, Callable[[], object]] = {
        "page": lambda: library.page(dataset, offset=offset()),
        "page sorted by length": lambda: library.page(dataset, offset=offset(), sort="characters"),
        "search of a word in every row": lambda: library.page(dataset, search="the"),
        "search of a word in one row": lambda: library.page(dataset, search=RARE),
        "row": lambda: library.row(dataset, 1 + offset()),
    }
    return {what: max(_milliseconds(ask) for _ in range(PAGES)) for what, ask in ways.items()}


def write_large_file(file: Path, megabytes: int) -> int:
    """Alpaca-style rows of our samples' words, about 600 bytes each; returns how many."""
    written = rows = 0
    with file.open("w", encoding="utf-8") as output:
        for row in _rows():
            written += output.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += 1
            if written >= megabytes * 1e6:
                break
        output.write(json.dumps({"instruction": RARE, "input": "", "output": RARE}) + "\n")
    return rows + 1


def _rows() -> Iterator[dict[str, str]]:
    chance = random.Random(0)
    words = (SAMPLES / "lighthouse-keeper.jsonl").read_text(encoding="utf-8").split()
    words = [word for word in words if RARE not in word and word.isalpha()]
    while True:
        start, length = chance.randrange(len(words) - 200), chance.randint(60, 130)
        yield {
            "instruction": " ".join(words[start : start + 12]),
            "input": "",
            "output": " ".join(words[start + 12 : start + 12 + length]),
        }


def _milliseconds(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return 1000 * (time.monotonic() - began)


DATA = Benchmark(name="data", title="A large file", measure=measure)
