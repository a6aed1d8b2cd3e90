"""AdaLoRA: LoRA that moves its rank to the matrices where it matters (arXiv 2303.10512)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from studio.errors import UserError
from studio.methods.options import Options
from studio.methods.shared_fields import LORA_ALPHA, LORA_DROPOUT
from studio.methods.targets import WHERE_FIELD, Where, check_where, modules
from studio.methods.trained_state import read_trained, write_trained
from studio.methods.tuners.contract import Config, Tuner, always

if TYPE_CHECKING:
    from peft import AdaLoraConfig

AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # what the rank allocator remembers of each weight
PATTERN = "rank_pattern"


class AdaloraOptions(Options):
    name: Literal["adalora"] = "adalora"
    init_r: int = Field(
        default=12,
        ge=1,
        le=1024,
        title="First rank",
        description="Rank of every matrix at the start; usually one and a half times the target.",
    )
    target_r: int = Field(
        default=8,
        ge=1,
        le=1024,
        title="Target rank",
        description="Average rank that is left at the end; the matrices that matter keep more than others.",
    )
    lora_alpha: int = LORA_ALPHA
    lora_dropout: float = LORA_DROPOUT
    target_modules: Where = WHERE_FIELD
    tinit: float = Field(
        default=0.1,
        ge=0,
        le=1_000_000,
        title="Before pruning",
        description="Steps before ranks are reduced; a number below 1 is a share of all steps.",
    )
    tfinal: float = Field(
        default=0.3,
        ge=0,
        le=1_000_000,
        title="After pruning",
        description="Steps at the end in which ranks stay as they are; a number below 1 is a share of all steps.",
    )
    deltaT: int = Field(
        default=1,
        ge=1,
        le=10_000,
        title="Prune every",
        description="Steps between two reductions of the ranks.",
    )
    orth_reg_weight: float = Field(
        default=0.5,
        ge=0,
        le=10,
        title="Orthogonality",
        description="How strongly the matrices are held orthogonal. It acts where the loss is the model's own (SFT).",
    )


def check(options: AdaloraOptions, config: Config) -> None:
    """Raise UserError for a budget that grows, or layers that are not known."""
    if options.target_r > options.init_r:
        raise UserError(
            f"AdaLoRA reduces ranks: the target rank {options.target_r} is more than the first, {options.init_r}.",
            "Set the first rank to at least the target; one and a half times is usual.",
        )
    check_where(options, config)


def peft_config(options: AdaloraOptions, config: Config, task_type: str) -> "AdaLoraConfig":
    """The schedule is filled in by `begin`, when the number of steps is known."""
    from peft import AdaLoraConfig

    values = {
        **options.library_options(),
        "target_modules": modules(config, options.target_modules),
        "tinit": 0,
        "tfinal": 0,
        "total_step": 1,
    }
    return AdaLoraConfig(**values, task_type=task_type)


def schedule(options: AdaloraOptions, steps: int) -> tuple[int, int]:
    """(tinit, tfinal) in steps. Raises UserError when nothing is left between them."""
    first, last = (int(given * steps) if given < 1 else int(given) for given in (options.tinit, options.tfinal))
    if first + last >= steps:
        raise UserError(
            f"AdaLoRA has no step to reduce ranks in: {first} before and {last} after, of {steps}.",
            "Lower the steps before and after pruning, or train longer.",
        )
    return first, last


def begin(trainer: Any, options: AdaloraOptions, folder: Path) -> None:
    """Fit the schedule to the steps that there will be, and move ranks after each.

    PEFT lets `ranknum`, a constant that it does not save, learn with the rest: it is held here.
    """
    from transformers import TrainerCallback

    for name, weight in trainer.model.named_parameters():
        if ".ranknum." in name:
            weight.requires_grad_(False)

    *_, steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
    config = trainer.model.peft_config["default"]
    config.total_step = steps
    config.tinit, config.tfinal = schedule(options, steps)

    class MoveRanks(TrainerCallback):  # type: ignore[misc]
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.model.base_model.update_and_allocate(state.global_step + 1)

    trainer.add_callback(MoveRanks())


def read_state(model: Any) -> dict[str, Any]:
    """Weights at full rank, the averages that say which matter, and the ranks kept so far."""
    import torch

    allocator = model.base_model.rankallocator
    state = read_trained(model)
    for kind in AVERAGES:
        state |= {f"{kind}:{name}": value for name, value in getattr(allocator, kind).items()}
    pattern = model.peft_config["default"].rank_pattern or {}
    return state | {f"{PATTERN}:{name}": torch.tensor(kept) for name, kept in pattern.items()}


def write_state(model: Any, tensors: dict[str, Any]) -> None:
    """Go on where the checkpoint was."""
    allocator = model.base_model.rankallocator
    write_trained(model, tensors)
    device = next(model.parameters()).device
    pattern = {}
    for key, value in tensors.items():
        kind, mark, name = key.partition(":")
        if mark and kind == PATTERN:
            pattern[name] = value.tolist()
        elif mark:
            getattr(allocator, kind)[name] = value.to(device)
    model.peft_config["default"].rank_pattern = pattern or None


def save(trainer: Any, options: AdaloraOptions, folder: Path, job: Path) -> None:
    """Only the ranks that were kept; what a stop left over of the others goes first."""
    model = trainer.model
    pattern = model.peft_config["default"].rank_pattern
    if pattern:
        model.base_model.rankallocator.mask_using_rank_pattern(model.base_model.model, pattern)
    trainer.save_model(str(folder))


ADALORA = Tuner(
    name="adalora",
    title="AdaLoRA",
    summary="LoRA that gives more rank to the matrices that matter and takes it from the others while training.",
    options=AdaloraOptions,
    peft_config=peft_config,
    library_class="AdaLoraConfig",
    merges=always,
    check=check,
    begin=begin,
    read_state=read_state,
    write_state=write_state,
    save=save,
)
