"""What fine-tuning makes a model forget: perplexity of general text before and after, plain and with each cure."""

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.scratch import scratch_studio
from benchmarks.worker import run_worker
from studio import workspace as names
from studio.base_models import STARTER_FOLDER
from studio.data.chat_template import ChatTokenizer, tokenize_batch
from studio.data.dataset import verified_examples
from studio.data.isolation import import_file
from studio.data.sources import RowReader
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import SAMPLES, Studio

TASK = SAMPLES / "lighthouse-keeper.jsonl"
ANSWERS = SAMPLES / "plain-answers.jsonl"
MEASURED = 40  # general rows that nobody learns from
LENGTH = 160  # tokens
PLAIN = "full fine-tuning"
# The same job, plain and with one cure each.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    PLAIN: ("full", {}),
    "… and a tenth of the learning rate": ("full", {"learning_rate": 1e-5}),
    "… and a fifth of general data": ("full", {"general_share": 0.2}),
    "… and EWC": ("full", {"general_share": 0.0, "ewc_lambda": 300.0, "ewc_rows": 32}),
    "LoRA instead": ("lora", {"learning_rate": 2e-4}),
}


def measure(options: Options) -> list[Figure]:
    """One training a way; the task's own loss stands in the note, since a model that learns nothing forgets nothing."""
    with scratch_studio(options.models) as studio:
        general, held_out = _general_files(studio, options.general)
        before = perplexity(studio, None, held_out)
        figures = [Figure(name="before", value=before, unit="perplexity", note=f"{MEASURED} rows of {LENGTH} tokens")]
        plain = math.inf
        for name, (preset, changes) in WAYS.items():
            folder = _make_job(studio, preset, general, options.steps, changes)
            run = run_worker(folder, threads=1)
            after = perplexity(studio, folder, held_out)
            losses = [step.metrics.values["loss"] for step in run.steps]
            note = f"the task's loss {losses[0]:.2f} → {sum(losses[-4:]) / 4:.2f} in {len(losses)} steps"
            figures.append(Figure(name=name, value=after, unit="perplexity", goal=plain, note=note))
            plain = after if name == PLAIN else plain
    return [_without_goal(one) if one.goal == math.inf else one for one in figures]


def perplexity(studio: Studio, job: Path | None, file: Path) -> float:
    """exp of the mean loss over the answers' tokens, of the base model or of what a job has made of it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = studio.workspace.models / STARTER_FOLDER
    whole = job / names.MODEL if job is not None and (job / names.MODEL).is_dir() else base
    model: Any = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32, trust_remote_code=False)
    if job is not None and whole == base:
        model = PeftModel.from_pretrained(model, job / names.ADAPTER)
    reference = make_reference(studio, file)
    examples = verified_examples(studio.workspace.dataset(reference["id"]), reference["sha256"])
    total, tokens = 0.0, 0
    for sequences in tokenize_batch(examples, ChatTokenizer(base)):
        kept = sequences[0].cut(LENGTH)
        count = sum(label >= 0 for label in kept.labels[1:])
        with torch.inference_mode():
            loss = model.eval()(input_ids=torch.tensor([kept.input_ids]), labels=torch.tensor([kept.labels])).loss
        total, tokens = total + float(loss) * count, tokens + count
    return math.exp(total / tokens)


def _general_files(studio: Studio, given: Path | None) -> tuple[Path, Path]:
    """(rows to mix in and to measure weights by, rows to measure forgetting by) as two files."""
    rows = [row for _, row in islice(RowReader().read(given or ANSWERS), 400)]
    if given is None:
        rows = [{"instruction": row["prompt"], "output": row["chosen"]} for row in rows]
    learned = studio.workspace.uploads / "general.jsonl"
    measured = studio.workspace.uploads / "held-out.jsonl"
    for file, some in ((measured, rows[:MEASURED]), (learned, rows[MEASURED:])):
        lines = [json.dumps(row, ensure_ascii=False) for row in some]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return learned, measured


def _make_job(studio: Studio, preset: str, general: Path, steps: int, changes: dict[str, Any]) -> Path:
    values = read_presets()[preset].values(make_reference(studio, TASK))
    fixed = {
        "eval_share": 0.0,
        "save_steps": 1_000_000,
        "max_length": LENGTH,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "dtype": "float32",
        "general_dataset": make_reference(studio, general) if set(changes) & {"general_share", "ewc_lambda"} else None,
    }
    return studio.workspace.job(studio.store.create(build_spec({**values, **fixed, **changes})))


def make_reference(studio: Studio, file: Path) -> dict[str, str]:
    """Import a file; what a spec names it by."""
    record = import_file(file, studio.workspace).record
    if record is None:
        raise RuntimeError(f"{file.name} is not a data set")
    return {"id": record.id, "sha256": record.sha256}


def _without_goal(figure: Figure) -> Figure:
    return Figure(name=figure.name, value=figure.value, unit=figure.unit, note=figure.note)


FORGETTING = Benchmark(name="forgetting", title="What full fine-tuning makes a model forget", measure=measure)
