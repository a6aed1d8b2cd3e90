"""One training job from its folder to its result."""

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, set_seed
from transformers.trainer_callback import PrinterCallback

from studio import workspace as names
from studio.base_models import fingerprint
from studio.jobs.events import EventWriter, Finished, Progress, Started, Stopped, Warned
from studio.jobs.spec import TrainSpec
from studio.jobs.training_data import teaches_little
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.worker import checkpoints, load
from studio.worker.arguments import training_arguments, use_checkpointing
from studio.worker.callbacks import EventCallback
from studio.worker.card_memory import measured, peak_memory
from studio.worker.forgetting import Consolidation
from studio.worker.ingredients import Ingredients, gather_ingredients, longest_sequence, note_data
from studio.worker.reward_functions import reward_functions
from studio.worker.soft_prompts import count_positions, hide_soft_prompt, score_last_token
from studio.worker.stop import StopSwitch
from studio.worker.token_forward import shorten
from studio.worker.trainer import StudioTrainer, trainer_class
from studio.workspace import Workspace, write_json


def run(folder: Path, spec: TrainSpec, events: EventWriter, switch: StopSwitch) -> None:
    """Train, save and say so. Raises UserError for what the user can fix."""
    workspace = Workspace(folder.parent.parent)
    events.write(Progress(phase="reading the data set"))
    ingredients = gather_ingredients(spec, workspace, events)
    note_data(folder / names.DATA, ingredients.used, events)
    events.write(Progress(phase="loading the base model"))
    trainer = build_trainer(ingredients, folder)
    checkpoint, complaints = checkpoints.newest_verified(folder / names.CHECKPOINTS)
    for complaint in complaints:
        events.write(Warned(message=complaint))
    tuner = TUNERS[spec.tuner.name]
    if tuner.begin is not None:
        tuner.begin(trainer, spec.tuner, folder)
    if ingredients.held_rows:
        events.write(Progress(phase="measuring what must not be forgotten"))
        trainer.consolidation = Consolidation(trainer.model, ingredients.held_rows, spec.ewc_lambda)
    trainer.add_callback(EventCallback(events, switch, trainer))
    _tell_start(trainer, ingredients, events, checkpoint)
    began = time.monotonic()
    switch.patient = True
    with measured(folder, spec, trainer, ingredients.train_rows):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.require_finite_weights()
    result = folder / (names.MODEL if tuner.whole_model else names.ADAPTER)
    size = checkpoints.write_complete(result, lambda staging: _save(staging, trainer, ingredients, folder))
    if switch.pressed and trainer.state.global_step < trainer.state.max_steps:
        events.write(Stopped(step=trainer.state.global_step, result=result.name))
        return
    events.write(
        Finished(
            step=trainer.state.global_step,
            seconds=round(time.monotonic() - began, 1),
            result=result.name,
            result_bytes=size,
            peak_memory_bytes=peak_memory(),
        )
    )


def build_trainer(ingredients: Ingredients, folder: Path) -> Any:
    """The objective's TRL trainer, ready to train."""
    spec, base = ingredients.spec, ingredients.base
    objective, tuner = OBJECTIVES[spec.objective.name], TUNERS[spec.tuner.name]
    where = load.device()
    precision = load.choose_precision(spec, where)
    set_seed(spec.seed)  # a reward model's head begins at random
    scores = objective.task_type == "SEQ_CLS"
    model = load.load_model(base, dtype=precision.weights, where=where, spec=spec, scores=scores)
    base_class, _ = objective.trainer()
    arguments = trainer_arguments(ingredients, folder, model.config, precision=precision, where=where)
    if tuner.prepare is not None:
        tuner.prepare(model, spec.tuner, ingredients.train_rows)
    config = {**model.config.to_dict(), "_name_or_path": str(base)}
    peft_config = tuner.peft_config(spec.tuner, config, objective.task_type) if tuner.peft_config else None
    if ingredients.adapter is not None:
        model, peft_config = load.continue_adapter(model, peft_config, ingredients.adapter), None
    trainer = trainer_class(base_class)(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(ingredients.train_rows),
        eval_dataset=Dataset.from_list(ingredients.eval_rows) if ingredients.eval_rows else None,
        processing_class=ingredients.tokenizer,
        peft_config=peft_config,
        **({"reward_funcs": rewards(ingredients, folder, where)} if objective.rewarded else {}),
    )
    count_positions(trainer.model)
    if not objective.sees_soft_prompts:
        hide_soft_prompt(trainer.model)
    if scores:
        score_last_token(trainer.model)
    trainer.remove_callback(PrinterCallback)
    trainer.watch(folder / names.CHECKPOINTS, spec.save_total_limit, spec.tuner)
    if where.type == "cpu" and not scores:
        _suit_to_cpu(trainer)
    if precision.autocast is None:
        _train_in_float32(trainer)
    return trainer


def trainer_arguments(
    ingredients: Ingredients, folder: Path, config: Any, *, precision: load.Precision, where: torch.device
) -> Any:
    """The trainer's configuration; `config` is the base model's."""
    spec = ingredients.spec
    longest = min(longest_sequence(ingredients.train_rows), spec.max_length)
    written = getattr(spec.objective, "max_completion_length", 0)
    checkpointing = use_checkpointing(spec, config, longest=longest + written, weights=precision.weights, where=where)
    _, config_class = OBJECTIVES[spec.objective.name].trainer()
    return config_class(
        **training_arguments(
            spec,
            folder / names.CHECKPOINTS,
            precision=precision,
            where=where,
            checkpointing=checkpointing,
            evaluate=bool(ingredients.eval_rows),
        )
    )


def rewards(ingredients: Ingredients, folder: Path, where: torch.device) -> list[Any]:
    """What rewards the answers of a job in `folder`."""
    workspace = Workspace(folder.parent.parent)
    return reward_functions(ingredients.spec, workspace, ingredients.base, ingredients.tokenizer, where)


def _train_in_float32(trainer: Any) -> None:
    """TRL makes the adapter of a quantized base bfloat16, whatever the arithmetic is to be done in."""
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _suit_to_cpu(trainer: StudioTrainer) -> None:
    """No padding waste."""
    for model in (trainer.model, getattr(trainer, "ref_model", None)):  # type: ignore[attr-defined]
        if isinstance(model, torch.nn.Module):
            shorten(_bare(model))


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
    if teaches_little(spec, max_steps):
        steps = "1 optimizer step" if max_steps == 1 else f"{max_steps} optimizer steps"
        events.write(Warned(message=f"Only {steps}: little is learned in so few. Raise the epochs."))


def _save(staging: Path, trainer: Any, ingredients: Ingredients, job: Path) -> None:
    """Adapter or model, tokenizer, and a note of what it belongs to."""
    spec = ingredients.spec
    save = TUNERS[spec.tuner.name].save
    if save is not None:
        save(trainer, spec.tuner, staging, job)
    else:
        trainer.save_model(str(staging))
    write_json(
        staging / names.ORIGIN,
        {
            "job": job.name,
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
