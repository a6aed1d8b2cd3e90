"""Runs a row of the matrix: every objective and quantization of one tuner, each cell trained or refused.

A cell that the form accepts trains two steps (what begins at zero moves in the first, the matrix beside it in the
second); then only what should learn has moved, and a process that never trained it loads what was saved and answers
the same. What came of it stands in matrix.json, of which scripts/write_docs.py makes a page: `--write-matrix` writes it
anew.
"""

import fcntl
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.write_docs import MATRIX, Cell, cells, noted
from studio import workspace as names
from studio.methods.objectives import OBJECTIVES, Objective
from studio.methods.tuners import TUNERS
from studio.worker import train
from studio.worker.trainer import StudioTrainer
from tests.conftest import import_rows, write_rows
from tests.worker.conftest import Lab, values_of

PROMPT = [5, 17, 40, 8, 99]
STEPS, TOKENS = 2, 3
# What an adapter's weights are called; whole models train the model's own.
MARKS = {
    "lora": "lora_", "adalora": "lora_", "ia3": "ia3_", "bottleneck": "bottleneck_", "shira": "shira_",
    "prompt_tuning": "prompt_encoder", "p_tuning": "prompt_encoder", "prefix_tuning": "prompt_encoder",
    "p_tuning_v2": "prompt_encoder",
}  # fmt: skip
HEADS = ("score.", "v_head.", "value_head.")  # what an objective adds to the model, and trains with it
# Options with which a cell is tried, where the defaults do not suit a model of two layers and 64 columns.
TUNER_OPTIONS: dict[str, dict[str, Any]] = {"partial": {"trained_layers": 1}, "shira": {"r": 4}}
# Objectives whose model writes answers write short ones, of which no two are rewarded alike.
SHORT = {"max_completion_length": 8, "reward_contains": "a, e, i, o, u, n, r, s, t, 1, 2, 3"}
OBJECTIVE_OPTIONS: dict[str, dict[str, Any]] = {
    "rloo": {**SHORT, "num_generations": 2},
    "grpo": {**SHORT, "num_generations": 2},
    "ppo": {**SHORT, "num_ppo_epochs": 1},
}
APART = {"none": 1e-4, "int8": 1e-3, "nf4": 1e-3}  # how far apart logits may be after loading

LOADER = """
import gc
gc.disable()
import copy, json, sys, torch
import studio.methods.bottleneck_layers
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig
torch.set_num_threads(1)
base, prompt, tokens, jobs = json.loads(sys.stdin.read())
kinds = {
    "nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.float32),
    "int8": dict(load_in_8bit=True),
}
plain = {}
for folder, quantized, whole, scores in jobs:
    more = {"quantization_config": BitsAndBytesConfig(**kinds[quantized])} if quantized != "none" else {}
    more |= {"num_labels": 1} if scores else {}
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    if whole or more:
        model = kind.from_pretrained(folder if whole else base, dtype=torch.float32, **more)
    else:
        plain[kind] = plain.get(kind) or kind.from_pretrained(base, dtype=torch.float32)
        model = copy.deepcopy(plain[kind])
    for part in model.modules():
        part.support_avx512bf16_for_cpu = False  # see studio/worker/load.py
    model = (model if whole else PeftModel.from_pretrained(model, folder)).eval()
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask).logits
        words = [] if scores else model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
            pad_token_id=2)[0, -tokens:].tolist()
    last = logits[-1] if scores else logits[0, -1]
    print("ANSWER" + json.dumps([last.tolist(), words]), flush=True)
"""


@dataclass
class Watched:
    """What was seen of one training from inside: what was frozen, what moved, what the model said at the end."""

    learns: set[str] = field(default_factory=set)
    trained: int = 0
    frozen: dict[str, torch.Tensor] = field(default_factory=dict)
    before: dict[str, torch.Tensor] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    spoiled: set[str] = field(default_factory=set)
    logits: torch.Tensor | None = None
    words: list[int] = field(default_factory=list)
    padding: float = 0.0  # how much more the loss is for a batch with more padding

    def start(self, model: Any) -> None:
        for name, weight in model.named_parameters():
            kept = self.before if weight.requires_grad else self.frozen
            kept[name] = weight.detach().clone()
        self.learns = set(self.before)
        self.trained = sum(weight.numel() for weight in self.before.values())

    def end(self, trainer: Any, *, rewarded: bool) -> None:
        model = trainer.model
        now = dict(model.named_parameters())
        self.moved = {name for name, weight in self.before.items() if not torch.equal(now[name], weight)}
        self.spoiled = {name for name, weight in self.frozen.items() if not torch.equal(now[name], weight)}
        self.logits, self.words = answer(model)
        if not rewarded:
            self.padding = cost_of_padding(trainer)


@torch.inference_mode()
def answer(model: Any) -> tuple[torch.Tensor, list[int]]:
    """(logits after the prompt or the score, the likeliest tokens) of a model that was just trained."""
    model.eval()
    ids = torch.tensor([PROMPT])
    mask = torch.ones_like(ids)
    logits = model(input_ids=ids, attention_mask=mask).logits
    if logits.ndim == 2:
        return logits[-1].float(), []
    words = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False,
        pad_token_id=2, use_cache=True,
    )  # fmt: skip
    return logits[0, -1].float(), words[0, -TOKENS:].tolist()


@torch.no_grad()
def cost_of_padding(trainer: Any) -> float:
    """By how much the loss of a batch changes when every text is padded further, which it must not."""
    batch = next(iter(trainer.get_train_dataloader()))
    padded = {}
    for name, value in batch.items():
        text = isinstance(value, torch.Tensor) and value.ndim == 2
        filler = -100 if "labels" in name else 0 if "mask" in name else trainer.processing_class.pad_token_id
        padded[name] = torch.nn.functional.pad(value, (0, 7), value=filler) if text else value
    before, after = (float(trainer.compute_loss(trainer.model, one)) for one in (dict(batch), padded))
    return abs(after - before)


@contextmanager
def watching(objective: Objective) -> Iterator[Watched]:
    """Look at the model between building the trainer and saving."""
    seen = Watched()
    build, save = train.build_trainer, train._save

    def build_and_look(*args: Any, **kwargs: Any) -> Any:
        trainer = build(*args, **kwargs)
        seen.start(trainer.model)
        return trainer

    def look_and_save(staging: Path, trainer: Any, *rest: Any) -> None:
        save(staging, trainer, *rest)
        seen.end(trainer, rewarded=objective.rewarded)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_trainer", build_and_look)
        patch.setattr(train, "_save", look_and_save)
        # Checkpoints are looked at in test_resume.py and test_tuners.py; here they would be written for nothing.
        patch.setattr(StudioTrainer, "_save_checkpoint", lambda *unused: None)
        yield seen


def data_for(lab: Lab, objective: str) -> dict[str, str]:
    """A data set of the kind that an objective learns from."""
    kinds = OBJECTIVES[objective].dataset_types
    if "preference" in kinds:
        return lab.preferences
    if "prompt_completion" in kinds:
        return lab.instructions
    file = lab.workspace.root.parent / "unpaired.jsonl"
    rows = [
        {"prompt": f"what is question {i}", "completion": ("bad tea", "the lamp is lit")[i % 2], "label": i % 2 == 1}
        for i in range(24)
    ]
    return import_rows(lab.workspace, write_rows(file, rows))


@dataclass(frozen=True)
class Tried:
    """A cell that was trained: where the job is, and what was seen."""

    cell: Cell
    folder: Path
    seen: Watched


def try_cell(lab: Lab, cell: Cell, **tuner_options: Any) -> Tried:
    """A few steps of one cell."""
    spec = lab.spec(
        "lora",
        dataset=data_for(lab, cell.objective),
        objective={"name": cell.objective, **OBJECTIVE_OPTIONS.get(cell.objective, {})},
        tuner={"name": cell.tuner, **TUNER_OPTIONS.get(cell.tuner, {}), **tuner_options},
        quantization=cell.quantization,
        learning_rate=0.01,
        dtype="float32",
        eval_share=0,
        save_steps=1000,
        max_steps=STEPS,
    )
    with watching(OBJECTIVES[cell.objective]) as seen:
        return Tried(cell, lab.train(spec), seen)


def answers_elsewhere(lab: Lab, done: list[Tried]) -> list[tuple[torch.Tensor, list[int]]]:
    """What a new process makes of the saved results, in the same order."""
    jobs = []
    for one in done:
        whole = TUNERS[one.cell.tuner].whole_model
        place = one.folder / (names.MODEL if whole else names.ADAPTER)
        jobs.append([str(place), one.cell.quantization, whole, one.cell.objective == "reward"])
    given = json.dumps([str(lab.model), PROMPT, TOKENS, jobs])
    ended = subprocess.run([sys.executable, "-c", LOADER], input=given, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [json.loads(line[6:]) for line in ended.stdout.splitlines() if line.startswith("ANSWER")]
    return [(torch.tensor(logits), words) for logits, words in lines]


def check_tried(lab: Lab, done: list[Tried]) -> None:
    """Each was trained right, and answers the same when loaded elsewhere."""
    for one in done:
        cell, seen, losses = one.cell, one.seen, values_of(one.folder, "loss")
        assert len(losses) == STEPS, cell
        assert all(math.isfinite(loss) for loss in losses), cell
        assert not seen.spoiled, f"{cell}: {sorted(seen.spoiled)[:3]} were frozen and have moved"
        assert seen.moved, f"{cell}: nothing has learned"
        assert seen.padding < 1e-4, f"{cell}: padding changes the loss by {seen.padding}"
        if not TUNERS[cell.tuner].whole_model:
            strangers = {name for name in seen.learns if MARKS[cell.tuner] not in name}
            assert all(any(head in name for head in HEADS) for name in strangers), f"{cell}: {sorted(strangers)[:3]}"
    for one, (logits, words) in zip(done, answers_elsewhere(lab, done), strict=True):
        assert one.seen.logits is not None
        apart = float((logits - one.seen.logits).abs().max())
        assert apart < APART[one.cell.quantization], f"{one.cell}: {apart} apart after loading"
        assert words == one.seen.words, f"{one.cell}: {apart} {words} {one.seen.words}"


def check_rows(lab: Lab, tuners: tuple[str, ...], *, write: bool) -> None:
    """All cells of these tuners: trained, right, the same when loaded elsewhere, and noted (`write`: note them)."""
    done = [try_cell(lab, cell) for cell, reason in cells() if cell.tuner in tuners and not reason]
    check_tried(lab, done)
    seen = {one.cell: one.seen.trained for one in done}
    if write:
        note(seen, tuners)
    assert {cell: trained for cell, trained in noted().items() if cell.tuner in tuners} == seen, (
        "matrix.json says otherwise: run the tests of the matrix with --write-matrix, then scripts/write_docs.py"
    )


def note(seen: dict[Cell, int], tuners: tuple[str, ...]) -> None:
    """Write what came of the cells of these tuners; other processes write those of others."""
    with MATRIX.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        kept = {key: trained for key, trained in json.load(file).items() if key.split(" × ")[1] not in tuners}
        new = {f"{cell.objective} × {cell.tuner} × {cell.quantization}": trained for cell, trained in seen.items()}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(dict(sorted({**kept, **new}.items())), indent=0, ensure_ascii=False) + "\n")
