"""What a tuner promises: its options, what is trained by them, and how the result is saved and used."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.methods.options import Options

if TYPE_CHECKING:
    from peft import PeftConfig

Config = dict[str, Any]  # a base model's config.json
Rows = list[dict[str, Any]]  # the trainer's rows


def accept(options: Any, config: Config) -> None:
    """Nothing to refuse."""


def never(options: Any) -> bool:
    return False


def always(options: Any) -> bool:
    return True


def trainers_own(model: Any, options: Any, learning_rate: float, weight_decay: float) -> None:
    """The trainer's own groups."""


def any_weights(options: Any, quantization: str) -> str:
    """Works however the base model's weights are kept."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """One way to choose what is trained.

    What it is:
    `whole_model`: the result is a model, not an adapter. `library_class`: PEFT's configuration, of which the
    options are fields, those in `own_options` excepted; empty when PEFT has no part in it.
    `refuses(options, quantization)`: why it does not go with that quantization, a sentence; empty when it does.
    `mixes(options)`: whether rows of one batch may use different adapters of it. `merges(options)`: whether it can
    be merged into the base's weights. `changes_base(options)`: whether the base with the adapter off is another
    model while training, so that it is no reference. `checkpointing`: whether activations can be computed again
    (gradient checkpointing).

    What it does, in the order of a job; all but `check` run in the worker:
    `check(options, config)` raises UserError when that base model cannot be tuned so.
    `prepare(model, options, rows)` freezes or measures, before there is a trainer.
    `peft_config(options, config, task_type)` is handed to TRL's trainer; None trains the model's own weights.
    `begin(trainer, options, folder)` comes before the first step; `folder` is the job's.
    `groups(model, options, learning_rate, weight_decay)` are the optimizer's parameter groups, None for the
    trainer's own.
    `read_state(model)` and `write_state(model, tensors)` keep what a checkpoint needs and PEFT's file lacks.
    `save(trainer, options, folder, job)` writes the result; None lets the trainer do it.
    """

    name: str
    title: str
    summary: str
    options: type[Options]
    peft_config: "Callable[[Any, Config, str], PeftConfig] | None"
    library_class: str
    own_options: tuple[str, ...] = ()
    whole_model: bool = False
    refuses: Callable[[Any, str], str] = any_weights
    mixes: Callable[[Any], bool] = never
    merges: Callable[[Any], bool] = never
    changes_base: Callable[[Any], bool] = never
    checkpointing: bool = True
    check: Callable[[Any, Config], None] = accept
    prepare: Callable[[Any, Any, Rows], None] | None = None
    begin: Callable[[Any, Any, Path], None] | None = None
    groups: Callable[[Any, Any, float, float], list[dict[str, Any]] | None] = trainers_own
    read_state: Callable[[Any], dict[str, Any]] | None = None
    write_state: Callable[[Any, dict[str, Any]], None] | None = None
    save: Callable[[Any, Any, Path, Path], None] | None = None
