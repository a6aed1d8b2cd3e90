"""One training job from its folder to its result."""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback

from studio import hub
from studio import workspace as names
from studio.base_models import fingerprint, model_folder
from studio.data.chat_template import ChatTokenizer, tokenize
from studio.data.dataset import split, verified_examples
from studio.data.examples import Example
from studio.errors import UserError
from studio.jobs.events import EventWriter, Finished, Progress, Started, Stopped, Warned
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.worker import checkpoints, load
from studio.worker.arguments import training_arguments, use_checkpointing
from studio.worker.callbacks import EventCallback, StopSwitch
from studio.worker.token_forward import shorten
from studio.worker.trainer import StudioTrainer, trainer_class
from studio.workspace import Workspace, write_json

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What a trainer is made of."""

    spec: TrainSpec
    base: Path
    tokenizer: PreTrainedTokenizerBase
    train_rows: Rows
    eval_rows: Rows


def run(folder: Path, spec: TrainSpec, events: EventWriter, switch: StopSwitch) -> None:
    """Train, save and say so. Raises UserError for what the user can fix."""
    workspace = Workspace(folder.parent.parent)
    events.write(Progress(phase="reading the data set"))
    ingredients = _gather(spec, workspace, events)
    events.write(Progress(phase="loading the base model"))
    trainer = build_trainer(ingredients, folder)
    checkpoint, complaints = checkpoints.newest_verified(folder / names.CHECKPOINTS)
    for complaint in complaints:
        events.write(Warned(message=complaint))
    trainer.add_callback(EventCallback(events, switch, trainer))
    _tell_start(trainer, ingredients, events, checkpoint)
    began = time.monotonic()
    switch.patient = True
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.require_finite_weights()
    result = folder / (names.MODEL if spec.tuner.name == "full" else names.ADAPTER)
    size = checkpoints.write_complete(result, lambda staging: _save(staging, trainer, ingredients, folder.name))
    if switch.pressed and trainer.state.global_step < trainer.state.max_steps:
        events.write(Stopped(step=trainer.state.global_step, result=result.name))
        return
    events.write(
        Finished(
            step=trainer.state.global_step,
            seconds=round(time.monotonic() - began, 1),
            result=result.name,
            result_bytes=size,
            peak_memory_bytes=_peak_memory(),
        )
    )


def build_trainer(ingredients: Ingredients, folder: Path) -> Any:
    """The objective's TRL trainer, ready to train."""
    spec = ingredients.spec
    where = load.device()
    precision = load.choose_precision(spec, where)
    model = load.load_model(ingredients.base, dtype=precision.weights, where=where, spec=spec)
    longest = max(sum(len(value) for name, value in row.items() if name != "labels") for row in ingredients.train_rows)
    base_class, config_class = OBJECTIVES[spec.objective.name].trainer()
    arguments = config_class(
        **training_arguments(
            spec,
            folder / names.CHECKPOINTS,
            precision=precision,
            where=where,
            checkpointing=use_checkpointing(
                spec, model.config, longest=min(longest, spec.max_length), weights=precision.weights, where=where
            ),
            evaluate=bool(ingredients.eval_rows),
        )
    )
    peft_config = TUNERS[spec.tuner.name].peft_config
    trainer = trainer_class(base_class)(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(ingredients.train_rows),
        eval_dataset=Dataset.from_list(ingredients.eval_rows) if ingredients.eval_rows else None,
        processing_class=ingredients.tokenizer,
        peft_config=peft_config(spec.tuner) if peft_config else None,
        **({"ref_model": None} if spec.objective.name == "dpo" else {}),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.watch(folder / names.CHECKPOINTS, spec.save_total_limit)
    if where.type == "cpu":
        _suit_to_cpu(trainer)
    return trainer


def _suit_to_cpu(trainer: StudioTrainer) -> None:
    """No padding waste, and adapters in float32 where the CPU is slow with less (TRL makes QLoRA's bfloat16)."""
    for model in (trainer.model, getattr(trainer, "ref_model", None)):  # type: ignore[attr-defined]
        if isinstance(model, torch.nn.Module):
            shorten(_bare(model))
    if load.half_precision(torch.device("cpu")) is None:
        for parameter in trainer.model.parameters():  # type: ignore[attr-defined]
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def _gather(spec: TrainSpec, workspace: Workspace, events: EventWriter) -> Ingredients:
    examples = verified_examples(workspace.dataset(spec.dataset.id), spec.dataset.sha256)
    base = model_folder(spec.base_model, workspace.models)
    if base is None:
        events.write(Progress(phase=f"fetching {spec.base_model}"))
        base = hub.download(spec.base_model)
    chat = ChatTokenizer(base, spec.chat_template)
    train, held_out = split(examples, spec.eval_share, spec.seed)
    train_rows, dropped = tokenized_rows(train, chat, spec)
    eval_rows, _ = tokenized_rows(held_out, chat, spec)
    if not train_rows:
        raise UserError(
            f"Nothing would be learned: at max_length {spec.max_length} no example keeps a token of its answer.",
            "Raise max length, or use shorter prompts.",
        )
    if dropped:
        events.write(
            Warned(message=f"{dropped} of {len(train)} examples are left out: max_length cuts off the whole answer.")
        )
    return Ingredients(
        spec=spec,
        base=base,
        tokenizer=load.load_tokenizer(base, spec.chat_template),
        train_rows=train_rows,
        eval_rows=eval_rows,
    )


def tokenized_rows(examples: list[Example], chat: ChatTokenizer, spec: TrainSpec) -> tuple[Rows, int]:
    """(the trainer's rows, how many examples gave none)."""
    columns = OBJECTIVES[spec.objective.name].columns
    rows = [columns(tokenize(example, chat), spec.max_length) for example in examples]
    return [row for some in rows for row in some], sum(not some for some in rows)


def _tell_start(trainer: Any, ingredients: Ingredients, events: EventWriter, checkpoint: Path | None) -> None:
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    spec = ingredients.spec
    loader = trainer.get_train_dataloader()
    *_, max_steps = trainer.set_initial_training_values(trainer.args, loader)
    events.write(
        Started(
            max_steps=max_steps,
            resumed_from=int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
            trainable_parameters=trained,
            parameters=trainer.model.num_parameters(),
            train_examples=len(ingredients.train_rows),
            eval_examples=len(ingredients.eval_rows),
            device=str(trainer.args.device),
            dtype=str(load.choose_precision(spec, load.device())),
        )
    )


def _save(staging: Path, trainer: Any, ingredients: Ingredients, job_id: str) -> None:
    """Adapter or model, tokenizer, and a note of what it belongs to."""
    spec = ingredients.spec
    trainer.save_model(str(staging))
    write_json(
        staging / names.ORIGIN,
        {
            "job": job_id,
            "base_model": spec.base_model,
            "base_fingerprint": fingerprint(ingredients.base),
            "chat_template": spec.chat_template,
            "dataset_sha256": spec.dataset.sha256,
            "objective": spec.objective.name,
            "tuner": spec.tuner.name,
        },
    )


def _bare(model: Any) -> PreTrainedModel:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _peak_memory() -> int:
    """Bytes: of the card when there is one, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
