"""An adapter into the base model's own weights: a whole model, in a dtype that is said."""

from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel

from studio.base_models import fingerprint, model_folder, read_config
from studio.errors import UserError
from studio.jobs.merge_sources import Source
from studio.jobs.spec import MergeSpec
from studio.methods.objectives import OBJECTIVES
from studio.worker import load
from studio.workspace import Workspace


def find_base(spec: MergeSpec, source: Source, workspace: Workspace) -> tuple[Path, str]:
    """(the base model's folder, the dtype of the whole model). Raises UserError when it is gone or another one."""
    base = model_folder(spec.base_model, workspace.models)
    if base is None or fingerprint(base) != source.origin["base_fingerprint"]:
        raise UserError(f"{spec.base_model} is not the base model of {source.name} (any more).", "Restore its files.")
    return base, choose_dtype(spec.dtype, base)


def choose_dtype(wanted: str, base: Path) -> str:
    """The dtype of a whole model: as asked for, else the one that the base model is kept in."""
    if wanted != "auto":
        return wanted
    config = read_config(base)
    kept = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return kept if kept in load.DTYPES else "float32"


def merge_into_base(
    staging: Path, spec: MergeSpec, base: Path, dtype: str, adapter: Path, tell: Callable[[float], None]
) -> None:
    """Write the base model with the adapter in a folder merged in. On the processor: nothing is computed but sums.

    `tell` hears how much is done; reading, merging and writing count as thirds.
    Raises UserError when weights come out that are not a number.
    """
    scores = OBJECTIVES[spec.objective].task_type == "SEQ_CLS"
    model = load.load_model(base, dtype=load.DTYPES[dtype], where=torch.device("cpu"), spec=None, scores=scores)
    tell(1 / 3)
    try:
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    except ValueError as error:
        if "NaN" not in str(error):
            raise
        raise UserError("The adapter makes weights that are not a number.", "Leave it out.") from None
    tell(2 / 3)
    merged.save_pretrained(staging)
