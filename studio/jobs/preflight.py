"""A bad combination is refused before anything starts, in words that say what to do."""

from pathlib import Path

from studio import hardware, hub
from studio.base_models import BaseModelFacts, model_folder, read_facts
from studio.data.dataset import DatasetRecord, read_record
from studio.errors import UserError
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.settings import Settings
from studio.workspace import Workspace

NEEDS_CUDA = ("adamw_8bit", "paged_adamw_8bit")
WORDS = {
    "language_modeling": "conversations or text",
    "prompt_completion": "prompts with answers",
    "preference": "pairs of a chosen and a rejected answer",
    "unpaired_preference": "answers with a good-or-bad label",
}


def check_start(spec: TrainSpec, workspace: Workspace, settings: Settings) -> None:
    """Return when the job can start. Raises UserError naming what does not go together, and what would."""
    record = read_record(workspace.dataset(spec.dataset.id))
    check_data(spec, record)
    check_combination(spec)
    check_hardware(spec)
    folder = model_folder(spec.base_model, workspace.models, allowed_roots(workspace, settings))
    if folder is None:
        hub.check_hub_model(spec.base_model, settings.hub_timeout)
        return
    facts = read_facts(spec.base_model, folder)
    check_model(spec, facts)
    check_disk(needed_bytes(spec, facts), workspace)


def allowed_roots(workspace: Workspace, settings: Settings) -> tuple[Path, ...] | None:
    """The folders that base models may lie in: any (None) when only this machine can reach the page."""
    return None if settings.is_loopback else (workspace.root, *settings.model_roots)


def check_data(spec: TrainSpec, record: DatasetRecord) -> None:
    """Raise UserError when the objective cannot learn from this kind of data, or there is too little."""
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
    if record.rows < 2 and spec.eval_share > 0:
        raise UserError("One row cannot be split for evaluation.", "Add rows, or set the share for evaluation to 0.")


def check_combination(spec: TrainSpec) -> None:
    """Raise UserError when options exclude each other."""
    if spec.quantization != "none" and not TUNERS[spec.tuner.name].works_quantized:
        raise UserError(
            f"{TUNERS[spec.tuner.name].title} cannot change weights that are kept in 4 bits.",
            "Choose LoRA (that is QLoRA), or set quantization to none.",
        )


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
    if spec.chat_template == "model" and not facts.has_chat_template:
        raise UserError(
            f"{facts.name} has no chat template (it is a base model).",
            "Set the chat template to plain, or choose an instruct model.",
        )


def needed_bytes(spec: TrainSpec, facts: BaseModelFacts) -> int:
    """Bytes on disk for the checkpoints kept, one more while it is written, and the result.

    A full checkpoint holds float32 weights and two AdamW states of the same size; an adapter's share of the
    weights is taken as 3 %, more than LoRA of rank 64 has.
    """
    trained = facts.parameters if spec.tuner.name == "full" else int(facts.parameters * 0.03)
    return trained * 4 * (3 * (spec.save_total_limit + 1) + 1)


def check_disk(needed: int, workspace: Workspace) -> None:
    """Raise UserError when the checkpoints would not fit on the disk."""
    free = workspace.free_bytes()
    if needed > free:
        raise UserError(
            f"The checkpoints need {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free at {workspace.root}.",
            "Free some space, keep fewer checkpoints, or use LoRA.",
        )
