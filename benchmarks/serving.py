"""Many adapters on one base: at once against one after another, many clients, memory, further turns."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.scratch import scratch_studio
from benchmarks.training import SAMPLE, make_job, take_rows
from benchmarks.worker import cpu_seconds, run_worker
from studio import workspace as names
from studio.jobs.launchers import local
from studio.jobs.servers import Endpoint
from studio.jobs.spec import ServeSpec, spec_text
from studio.jobs.studio import Studio
from studio.settings import worker_environment
from studio.workspace import new_id, read_json

TOKENS = 64
CLIENTS = 16
MANY = 200  # adapters that come and go
QUESTION = "{} Tell me the whole story of a lighthouse, its keeper and a long winter, in as many words as you can."
DEADLINE = 600.0


@dataclass(frozen=True)
class Server:
    """A server of our own, and its process."""

    endpoint: Endpoint
    pid: int

    def ask(self, model: str, text: str, *, tokens: int = TOKENS, before: Sequence[Any] = ()) -> dict[str, Any]:
        """A whole answer, by greedy decoding. Raises RuntimeError when there is none."""
        messages = [*before, {"role": "user", "content": text}]
        body = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
        headers = {"authorization": f"Bearer {self.endpoint.token}"}
        url = f"{self.endpoint.url}/v1/chat/completions"
        response = httpx.post(url, json=body, headers=headers, timeout=DEADLINE)
        if response.status_code != 200:
            raise RuntimeError(response.text)
        answer: dict[str, Any] = response.json()
        return answer

    def memory(self) -> int:
        """Bytes in main memory."""
        return int(psutil.Process(self.pid).memory_info().rss)


def measure(options: Options) -> list[Figure]:
    """An adapter of one training step, and copies of it: to the arithmetic they are as different as any."""
    with scratch_studio(options.models) as studio:
        rows = studio.workspace.uploads / "rows.jsonl"
        take_rows(SAMPLE, rows)
        trained = make_job(studio, rows, max_steps=1)
        run_worker(trained, threads=2)
        adapters = [trained.name, *_copies(studio, trained.name, "copy", 2)]
        voices = ["base", *adapters]
        with serving(studio) as server:
            for name in voices:
                server.ask(name, "warm up", tokens=2)
            together, alone = _together_and_alone(server, voices, options.rounds)
            figures = [*_switch(server, adapters, options.rounds), *_clients(server, voices), *_turns(server)]
        anew = _per_token(lambda: _server_for_each(studio, voices))
        reloaded = _reload(studio, adapters)
        figures = [
            _ratio("four voices at once, against one after another", alone, together, 2.2),
            _ratio("… against unload and reload, libraries loaded", reloaded, together, 10),
            _ratio("… against a server started for each", anew, together, None),
            *figures,
        ]
        return [*figures, *_come_and_go(studio, adapters[0])]


@contextmanager
def serving(studio: Studio, **options: Any) -> Iterator[Server]:
    """A server for the starter model, started as the studio starts it."""
    folder = studio.workspace.server(new_id("bench"))
    folder.mkdir()
    (folder / names.SPEC).write_text(spec_text(ServeSpec(base_model="starter", **options)), encoding="utf-8")
    process = local.launch("studio.worker", folder)
    try:
        end = time.monotonic() + DEADLINE
        while (found := read_json(folder / names.ENDPOINT)) is None:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / names.LOG).read_text(encoding="utf-8")[-2000:])
            time.sleep(0.02)
        yield Server(Endpoint(f"http://127.0.0.1:{found['port']}", found["token"]), process.pid)
    finally:
        process.terminate()
        process.wait()


def _together_and_alone(server: Server, voices: Sequence[str], rounds: int) -> tuple[float, float]:
    """Seconds per token of all voices, at once and in turn; the best of alternating rounds."""
    together, alone = [], []
    for number in range(rounds):
        text = QUESTION.format(number)
        alone.append(_per_token(lambda text=text: [server.ask(name, text) for name in voices]))
        other = QUESTION.format(-number - 1)
        together.append(_per_token(lambda text=other: _at_once(server, voices, text)))
    return min(together), min(alone)


def _at_once(server: Server, voices: Sequence[str], text: str) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(len(voices)) as pool:
        return list(pool.map(lambda name: server.ask(name, text), voices))


def _clients(server: Server, voices: Sequence[str]) -> list[Figure]:
    one = [server.ask(voices[index % len(voices)], QUESTION.format(f"({index})")) for index in range(4)]
    single = sum(_tokens(answer) for answer in one) / sum(answer["studio"]["seconds"] for answer in one)
    began, busy = time.monotonic(), cpu_seconds(server.pid)
    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [
            pool.submit(server.ask, voices[index % len(voices)], QUESTION.format(f"[{index}]"))
            for index in range(CLIENTS)
        ]
    errors = [one.exception() for one in asked if one.exception() is not None]
    answers = [one.result() for one in asked if one.exception() is None]
    rate = sum(_tokens(answer) for answer in answers) / (time.monotonic() - began)
    busy = (cpu_seconds(server.pid) - busy) / max(1, sum(_tokens(answer) for answer in answers))
    first = median(answer["studio"]["first_token_seconds"] for answer in one)
    crowded = median(answer["studio"]["first_token_seconds"] for answer in answers)
    return [
        Figure(name=f"{CLIENTS} clients at once: errors", value=len(errors), unit="", goal=0),
        Figure(name=f"{CLIENTS} clients against one: tokens per second", value=rate / single, unit="×", goal=3,
               more_is_better=True, note=f"{rate:.1f} against {single:.1f} a second"),
        Figure(name=f"{CLIENTS} clients: CPU time a token", value=1000 * busy, unit="ms"),
        Figure(name="first token, one client", value=1000 * first, unit="ms", note="a prompt of 40 tokens"),
        Figure(name=f"first token, {CLIENTS} clients at once", value=1000 * crowded, unit="ms", note="median"),
        Figure(name="each further token, one client", value=median(_pace(answer) for answer in one), unit="ms"),
        Figure(name=f"each further token, {CLIENTS} clients", value=median(map(_pace, answers)), unit="ms"),
    ]  # fmt: skip


def _switch(server: Server, adapters: Sequence[str], rounds: int) -> list[Figure]:
    same, other = [], []
    for number in range(2 * rounds):
        for index, name in enumerate((adapters[0], adapters[0], adapters[1])):
            answer = server.ask(name, f"{number} {index} What is to be done when the lamp goes out?", tokens=1)
            (same if index == 1 else other).append(answer["studio"]["first_token_seconds"])
    note = f"best of {len(other)} against best of {len(same)}"
    cost = 1000 * (min(other) - min(same))
    return [Figure(name="cost of another adapter for the next request", value=cost, unit="ms", goal=50, note=note)]


def _turns(server: Server) -> list[Figure]:
    known, anew = [], []
    for number in range(3):
        story = f"{number} " + "The lamp was lit, and the keeper wrote into his book. " * 40
        first = server.ask("base", story, tokens=8)
        said = first["choices"][0]["message"]
        before = [{"role": "user", "content": story}, said]
        known.append(server.ask("base", "And then?", tokens=1, before=before)["studio"])
        before[0] = {"role": "user", "content": f"{number + 7} {story}"}
        anew.append(server.ask("base", "And then?", tokens=1, before=before)["studio"])
    fast, slow = (min(one["first_token_seconds"] for one in turns) for turns in (known, anew))
    note = f"{1000 * slow:.0f} ms when all of it is read anew; {known[0]['cached_tokens']} tokens remembered"
    return [Figure(name="first token of a second turn", value=1000 * fast, unit="ms", note=note)]


def _come_and_go(studio: Studio, adapter: str) -> list[Figure]:
    """Main memory while 200 adapters are loaded and make room for each other."""
    source = studio.workspace.adapter_folder(adapter)
    size = (source / "adapter_model.safetensors").stat().st_size
    many = _copies(studio, adapter, "many", MANY)
    with serving(studio, adapter_bytes=5 * size, cache_bytes=1 << 22) as server:
        memory, loads = [], []
        for name in many:
            began = time.monotonic()
            server.ask(name, "hello", tokens=1)
            loads.append(time.monotonic() - began)
            memory.append(server.memory())
    note = f"from {memory[19] / 1e6:.0f} MB after 20 of them; five of {size / 1e6:.0f} MB are kept"
    growth = (memory[-1] - memory[19]) / 1e6
    return [
        Figure(name=f"{MANY} adapters loaded and evicted: growth", value=growth, unit="MB", goal=50, note=note),
        Figure(name="first token of an adapter not loaded", value=1000 * median(loads), unit="ms", note="median"),
    ]


def _server_for_each(studio: Studio, voices: Sequence[str]) -> list[dict[str, Any]]:
    answers = []
    for name in voices:
        with serving(studio) as server:
            answers.append(server.ask(name, QUESTION.format(0)))
    return answers


def _reload(studio: Studio, adapters: Sequence[str]) -> float:
    """Seconds per token when a process loads base and adapter anew for each voice, its libraries loaded before."""
    folders = [str(studio.workspace.adapter_folder(name)) for name in adapters]
    base = str(next(studio.workspace.models.iterdir()).resolve())
    command = [sys.executable, str(Path(__file__).with_name("reload.py")), base, str(TOKENS), QUESTION, *folders]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["seconds_per_token"])


def _ratio(name: str, slow: float, fast: float, goal: float | None) -> Figure:
    note = f"{1000 * fast:.0f} against {1000 * slow:.0f} ms a token"
    return Figure(name=name, value=slow / fast, unit="×", goal=goal, more_is_better=True, note=note)


def _per_token(work: Callable[[], list[dict[str, Any]]]) -> float:
    began = time.monotonic()
    answers = work()
    return (time.monotonic() - began) / sum(_tokens(answer) for answer in answers)


def _tokens(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["completion_tokens"])


def _pace(answer: dict[str, Any]) -> float:
    """Milliseconds from one token to the next."""
    told = answer["studio"]
    return float(1000 * (told["seconds"] - told["first_token_seconds"]) / max(1, _tokens(answer) - 1))


def _copies(studio: Studio, adapter: str, name: str, count: int) -> list[str]:
    """So many more adapters with the same files, which take no room on the disk."""
    made = [f"{name}-{number}" for number in range(count)]
    for one in made:
        target = studio.workspace.adapter(one) / names.ADAPTER
        target.mkdir(parents=True)
        for file in studio.workspace.adapter_folder(adapter).iterdir():
            os.link(file, target / file.name)
    return made


SERVING = Benchmark(name="serving", title="Many adapters on one base at once", measure=measure)
