"""LoRA on the starter model: real tokens per CPU-second with one thread, time to the first step, memory."""

import json
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.peers import LLAMA_FACTORY
from benchmarks.scratch import scratch_studio
from benchmarks.worker import Run, run_worker
from studio import hardware
from studio.data.isolation import import_file
from studio.data.sources import RowReader
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import SAMPLES, Studio

ROWS = 256
BATCH = 4
TIMES_FASTER = 2.0  # than LLaMA-Factory
SAMPLE = SAMPLES / "lighthouse-keeper.jsonl"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Figures of one training. `tokens`: those of the steps after the first, padding not counted."""

    tokens: int
    tokens_per_cpu_second: float
    first_step_cpu_seconds: float
    peak_bytes: int


def speed_of(run: Run) -> Speed:
    """What a run says about speed: everything between the end of its first step and the saved result counts."""
    tokens = sum(
        after.metrics.values["tokens_per_second"] * (after.metrics.elapsed - before.metrics.elapsed)
        for before, after in pairwise(run.steps)
    )
    first = run.steps[0].cpu_seconds
    return Speed(
        tokens=round(tokens),
        tokens_per_cpu_second=tokens / (run.cpu_seconds - first),
        first_step_cpu_seconds=first,
        peak_bytes=run.finished.peak_memory_bytes,
    )


def take_rows(file: Path, target: Path) -> str:
    """Write 256 rows of `file` to `target`, from the start again when there are fewer; says what was taken."""
    rows = [row for _, row in islice(RowReader().read(file), ROWS)]
    repeated = len(rows) < ROWS
    lines = [json.dumps(row, ensure_ascii=False) for row in islice(cycle(rows), ROWS)]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{file.name}, {len(rows)} rows repeated to {ROWS}" if repeated else f"{file.name}, first {ROWS} rows"


def make_job(studio: Studio, rows: Path, **changes: object) -> Path:
    """The folder of a LoRA job (r=8 on the seven linear kinds) on all of `rows`, made as the studio makes it."""
    record = import_file(rows, studio.workspace).record
    if record is None:
        raise RuntimeError(f"{rows.name} is not a data set")
    values = read_presets()["lora"].values({"id": record.id, "sha256": record.sha256})
    fixed = {
        "eval_share": 0.0,
        "save_steps": 1_000_000,
        "max_length": 512,
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": 1,
    }
    job = studio.store.create(build_spec({**values, **fixed, **changes}))
    return studio.workspace.job(job)


def measure(options: Options) -> list[Figure]:
    """Both number formats; bfloat16 only where the hardware multiplies it."""
    dtypes = ["float32", "bfloat16"] if hardware.cpu().bf16 else ["float32"]
    figures = []
    for dtype in dtypes:
        with scratch_studio(options.models) as studio:
            rows = studio.workspace.uploads / "rows.jsonl"
            data = take_rows(options.alpaca or SAMPLE, rows)
            folder = make_job(studio, rows, dtype=dtype, max_steps=options.steps)
            speed = speed_of(run_worker(folder, threads=1))
        figures += _figures(dtype, speed, f"{data}; {speed.tokens} tokens in {options.steps - 1} steps of {BATCH}")
    return figures


def _figures(dtype: str, speed: Speed, note: str) -> list[Figure]:
    rate, memory = LLAMA_FACTORY.tokens_per_cpu_second[dtype], LLAMA_FACTORY.peak_memory_gb[dtype]
    first = LLAMA_FACTORY.first_step_cpu_seconds[0]
    return [
        Figure(
            name=f"{dtype}: real tokens",
            value=speed.tokens_per_cpu_second,
            unit="per CPU-second",
            goal=TIMES_FASTER * rate,
            more_is_better=True,
            peer=rate,
            note=note,
        ),
        Figure(
            name=f"{dtype}: until the first step ends",
            value=speed.first_step_cpu_seconds,
            unit="CPU-seconds",
            goal=first,
            peer=first,
            note="from the start of the process",
        ),
        Figure(
            name=f"{dtype}: peak memory of the worker",
            value=speed.peak_bytes / 1e9,
            unit="GB",
            peer=memory,
        ),
    ]


TRAINING = Benchmark(name="training", title="LoRA training on a CPU, one thread", measure=measure)
