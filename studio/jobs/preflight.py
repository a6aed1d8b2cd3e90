"""A bad combination is refused before anything starts, in words that say what to do."""

from pathlib import Path
from typing import Any

from studio import hardware, hub
from studio.base_models import BaseModelFacts, model_folder, read_config, read_facts
from studio.data.dataset import DatasetRecord, read_record
from studio.data.examples import DatasetType
from studio.data.mixing import KINDS
from studio.data.snapshots import read_current
from studio.errors import UserError
from studio.jobs.earlier_jobs import check_earlier_jobs
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.parameters import trainable_parameters
from studio.methods.tuners import TUNERS
from studio.settings import Settings
from studio.workspace import Workspace

NEEDS_CUDA = ("adamw_8bit", "paged_adamw_8bit")
WORDS: dict[DatasetType, str] = {
    "language_modeling": "conversations or text",
    "prompt_completion": "prompts with answers",
    "preference": "pairs of a chosen and a rejected answer",
    "unpaired_preference": "answers with a good-or-bad label",
}


def check_start(spec: TrainSpec, workspace: Workspace, settings: Settings) -> None:
    """Return when the job can start. Raises UserError naming what does not go together, and what would."""
    record = read_record(workspace.dataset(spec.dataset.id))
    check_data(spec, record, read_current(workspace.dataset(spec.dataset.id))["rows"])
    check_other_data(spec, record, workspace)
    check_combination(spec)
    OBJECTIVES[spec.objective.name].check(spec)
    check_forgetting(spec)
    check_hardware(spec)
    folder = model_folder(spec.base_model, workspace.models, allowed_roots(workspace, settings))
    if folder is None:
        hub.check_hub_model(spec.base_model, settings.hub_timeout)
        return
    facts = read_facts(spec.base_model, folder)
    config = read_config(folder)
    check_model(spec, facts)
    TUNERS[spec.tuner.name].check(spec.tuner, config)
    check_earlier_jobs(spec, workspace, folder)
    check_disk(needed_bytes(spec, facts, config), workspace)


def allowed_roots(workspace: Workspace, settings: Settings) -> tuple[Path, ...] | None:
    """The folders that base models may lie in: any (None) when only this machine's user can reach the page.

    A password on loopback tells of a proxy in front, so others are let in there too.
    """
    alone = settings.is_loopback and not settings.password
    return None if alone else (workspace.root, *settings.model_roots)


def check_data(spec: TrainSpec, record: DatasetRecord, rows: int) -> None:
    """Raise UserError when the objective cannot learn from this kind of data, or `rows` are too few."""
    objective = OBJECTIVES[spec.objective.name]
    if record.dataset_type not in objective.dataset_types:
        fitting = [one.title for one in OBJECTIVES.values() if record.dataset_type in one.dataset_types]
        wanted = " or ".join(WORDS[kind] for kind in objective.dataset_types)
        raise UserError(
            f"{objective.title} learns from {wanted}; {record.name} holds {WORDS[record.dataset_type]}.",
            f"Choose a preset for {' or '.join(fitting)}, or another data set."
            if fitting
            else "Choose another data set.",
        )
    if objective.rewarded and record.format == "text":
        raise UserError(
            f"{objective.title} needs prompts to answer; {record.name} holds plain text.",
            "Choose a data set of prompts, questions or conversations.",
        )
    if rows < 2 and spec.eval_share > 0 and spec.eval_dataset is None:
        raise UserError("One row cannot be split for evaluation.", "Add rows, or set the share for evaluation to 0.")


def check_other_data(spec: TrainSpec, record: DatasetRecord, workspace: Workspace) -> None:
    """Raise UserError when a data set to evaluate on, or to mix in, is missing, of another kind, or used twice."""
    used = {record.id: "trained on", spec.dataset.sha256: "trained on"}
    for reference, use in ((spec.eval_dataset, "evaluated on"), (spec.general_dataset, "mixed in")):
        if reference is None:
            continue
        other = read_record(workspace.dataset(reference.id))
        if KINDS[other.dataset_type] != KINDS[record.dataset_type]:
            raise UserError(
                f"{other.name} holds {WORDS[other.dataset_type]}, {record.name} {WORDS[record.dataset_type]}: "
                f"it cannot be {use}.",
                f"Choose one of the same kind as {record.name}, or none.",
            )
        earlier = used.get(reference.id) or used.get(reference.sha256)
        if earlier:
            raise UserError(f"{other.name} is {earlier} already: it cannot be {use} as well.", "Choose another one.")
        used |= {reference.id: use, reference.sha256: use}


def check_combination(spec: TrainSpec) -> None:
    """Raise UserError when options exclude each other."""
    tuner = TUNERS[spec.tuner.name]
    reason = tuner.refuses(spec.tuner, spec.quantization) if spec.quantization != "none" else ""
    if reason:
        way_out = "Choose LoRA (with 4 bits, that is QLoRA)" if tuner.whole_model else "Change that option"
        raise UserError(reason, f"{way_out}, or set quantization to none.")
    if spec.gradient_checkpointing == "on" and not tuner.checkpointing:
        raise UserError(
            f"{tuner.title} works through the cache of keys and values, which gradient checkpointing switches off.",
            "Set gradient checkpointing to auto or off.",
        )
    if tuner.changes_base(spec.tuner) and OBJECTIVES[spec.objective.name].reference:
        raise UserError(
            f"{OBJECTIVES[spec.objective.name].title} measures against the base model, which this beginning of "
            f"{tuner.title} changes.",
            "Set the beginning to default.",
        )


def check_forgetting(spec: TrainSpec) -> None:
    """Raise UserError when elastic weight consolidation has nothing to measure by, or nothing to hold."""
    if not spec.ewc_lambda:
        return
    if spec.general_dataset is None:
        raise UserError(
            "EWC needs general data to measure which weights matter for it.",
            "Choose a general data set (its share may be 0), or set the EWC strength to 0.",
        )
    if not TUNERS[spec.tuner.name].whole_model and not spec.start_from:
        raise UserError(
            "EWC holds old weights back; a new adapter has none, and the base model's do not change at all.",
            "Set the EWC strength to 0 and mix in general data, or use full or partial fine-tuning.",
        )
    if OBJECTIVES[spec.objective.name].task_type != "CAUSAL_LM":
        raise UserError("A reward model writes no text that EWC could measure.", "Set the EWC strength to 0.")


def check_hardware(spec: TrainSpec) -> None:
    """Raise UserError when this machine cannot do what is asked."""
    has_card = bool(hardware.gpus())
    if spec.optim in NEEDS_CUDA and not has_card:
        raise UserError(f"The optimizer {spec.optim} needs an NVIDIA card.", "Choose adamw_torch.")
    if spec.dtype == "float16" and not has_card:
        raise UserError("float16 training needs an NVIDIA card.", "Set precision to auto.")


def check_model(spec: TrainSpec, facts: BaseModelFacts) -> None:
    """Raise UserError when the model cannot take such rows."""
    if 0 < facts.max_position_embeddings < spec.max_length:
        raise UserError(
            f"{facts.name} reads at most {facts.max_position_embeddings} tokens; max length is {spec.max_length}.",
            f"Set max length to {facts.max_position_embeddings} or less.",
        )
    written = getattr(spec.objective, "max_completion_length", 0)
    if 0 < facts.max_position_embeddings < spec.max_length + written:
        raise UserError(
            f"{facts.name} reads at most {facts.max_position_embeddings} tokens; prompts of {spec.max_length} and "
            f"answers of {written} are more.",
            "Lower max length or the longest answer.",
        )
    if spec.chat_template == "model" and not facts.has_chat_template:
        raise UserError(
            f"{facts.name} has no chat template (it is a base model).",
            "Set the chat template to plain, or choose an instruct model.",
        )


def needed_bytes(spec: TrainSpec, facts: BaseModelFacts, config: dict[str, Any]) -> int:
    """Bytes on disk for the checkpoints kept, one more while it is written, and the result.

    A checkpoint holds what is saved in float32 (a whole model, or the trained weights) and two AdamW states of the
    trained weights. Of an architecture that is not known an adapter is taken as 3 %, more than LoRA of rank 64.
    """
    whole = TUNERS[spec.tuner.name].whole_model
    counted = trainable_parameters(spec.tuner, config, scores=OBJECTIVES[spec.objective.name].task_type == "SEQ_CLS")
    trained = counted if counted is not None else int(facts.parameters * (1 if whole else 0.03))
    saved = facts.parameters if whole else trained
    return 4 * ((saved + 2 * trained) * (spec.save_total_limit + 1) + saved)


def check_disk(needed: int, workspace: Workspace) -> None:
    """Raise UserError when the checkpoints would not fit on the disk."""
    free = workspace.free_bytes()
    if needed > free:
        raise UserError(
            f"The checkpoints need {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free at {workspace.root}.",
            "Free some space, keep fewer checkpoints, or use LoRA.",
        )
