"""Talking to adapters: how long the first token takes when every request wants another one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.scratch import scratch_studio
from benchmarks.training import SAMPLE, make_job, take_rows
from benchmarks.worker import run_worker
from studio.jobs.launchers.local import is_alive, read_record
from studio.jobs.servers import Endpoint, ServerPool
from studio.jobs.studio import Studio
from studio.playground.client import ChatClient, Settings

BASE_MODEL = "starter"
QUESTION = "What should I look at first when the lamp goes out?"
TURNS = 2  # a round is so many requests of each kind
DEADLINE = 180.0


def measure(options: Options) -> list[Figure]:
    """Two adapters of one training step each, on one resident base model."""
    with scratch_studio(options.models) as studio:
        rows = studio.workspace.uploads / "rows.jsonl"
        take_rows(SAMPLE, rows)
        first, second = (_adapter(studio, rows, seed) for seed in (1, 2))
        began = time.monotonic()
        with serving(studio) as endpoint:
            base_load = time.monotonic() - began
            client = ChatClient(endpoint)
            seconds_to_first_token(client, "base")
            loads = [seconds_to_first_token(client, name) for name in (first, second)]
            same, other = [], []
            for _ in range(options.rounds):
                same += [seconds_to_first_token(client, first) for _ in range(TURNS + 1)][1:]
                other += [seconds_to_first_token(client, name) for name in (second, first) * (TURNS // 2)]
    note = f"median of {len(other)}; best {1000 * min(other):.0f} ms"
    return [
        Figure(name="first token, another adapter each time", value=1000 * median(other), unit="ms", note=note),
        Figure(
            name="first token, the same adapter",
            value=1000 * median(same),
            unit="ms",
            note=f"median of {len(same)}; best {1000 * min(same):.0f} ms",
        ),
        Figure(name="cost of the switch", value=1000 * (min(other) - min(same)), unit="ms", note="best against best"),
        Figure(name="first token, first adapter ever", value=1000 * loads[0], unit="ms", note="it is loaded then"),
        Figure(name="first token, second adapter", value=1000 * loads[1], unit="ms", note="it is loaded then"),
        Figure(name="start of the chat's server", value=base_load, unit="s", note="process, libraries, base model"),
    ]


@contextmanager
def serving(studio: Studio) -> Iterator[Endpoint]:
    """The endpoint of a server that holds the starter model, started by the studio's own pool."""
    pool = ServerPool(studio.workspace)
    try:
        deadline = time.monotonic() + DEADLINE
        while (endpoint := pool.want(BASE_MODEL)) is None:
            if time.monotonic() > deadline:
                raise RuntimeError("the chat's server did not start")
            pool.tend()
            time.sleep(0.05)
        yield endpoint
    finally:
        pool.end_all()
        while any(_lives(folder) for folder in studio.workspace.servers.iterdir()):
            time.sleep(0.05)


def _lives(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and is_alive(record)


def seconds_to_first_token(client: ChatClient, model: str) -> float:
    """From the request to the first piece of text."""
    began = time.monotonic()
    pieces = client.stream(
        model, [{"role": "user", "content": QUESTION}], Settings(temperature=0.0, top_p=1.0, max_tokens=2)
    )
    next(pieces)
    seconds = time.monotonic() - began
    for _ in pieces:  # to its end, so that the next request finds the server at rest
        pass
    return seconds


def _adapter(studio: Studio, rows: Path, seed: int) -> str:
    folder = make_job(studio, rows, max_steps=1, seed=seed)
    run_worker(folder, threads=2)
    return folder.name


SWITCH = Benchmark(name="switch", title="Switching adapters in the playground", measure=measure)
