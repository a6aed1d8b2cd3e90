"""LoRA: low-rank matrices beside the frozen weights (arXiv 2106.09685), and its variants."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from studio.methods.options import Options
from studio.methods.shared_fields import LORA_ALPHA, LORA_DROPOUT, RANK
from studio.methods.targets import WHERE_FIELD, Where, check_where, modules
from studio.methods.tuners.contract import Config, Tuner

if TYPE_CHECKING:
    from peft import LoraConfig

INITIAL = "initial_adapter"  # in the job's folder: what PiSSA and OLoRA began with
BEGINNINGS = {"default": True}


class LoraOptions(Options):
    name: Literal["lora"] = "lora"
    r: int = RANK
    lora_alpha: int = LORA_ALPHA
    lora_dropout: float = LORA_DROPOUT
    target_modules: Where = WHERE_FIELD
    use_rslora: bool = Field(
        default=False,
        title="rsLoRA",
        description="Scale by alpha / √r instead of alpha / r: steadier at ranks of 64 and more.",
    )
    use_dora: bool = Field(
        default=False,
        title="DoRA",
        description="Learn length and direction of the weights apart: often a little better, slower.",
    )
    init_lora_weights: Literal["default", "pissa", "pissa_niter_4", "pissa_niter_16", "olora"] = Field(
        default="default",
        title="Beginning",
        description="default: the adapter begins without effect. pissa: with the main directions of the weights "
        "(niter: found faster, by approximation); olora: with their QR decomposition. Both often learn faster, and "
        "are saved as plain LoRA of twice the rank.",
    )
    loraplus_lr_ratio: float = Field(
        default=1.0,
        ge=1,
        le=64,
        title="LoRA+ ratio",
        description="How much faster the matrices B learn than the matrices A; 16 is the paper's. 1: alike.",
    )


def peft_config(options: LoraOptions, config: Config, task_type: str) -> "LoraConfig":
    from peft import LoraConfig

    values = {
        **options.library_options(),
        "target_modules": modules(config, options.target_modules),
        "init_lora_weights": BEGINNINGS.get(options.init_lora_weights, options.init_lora_weights),
    }
    del values["loraplus_lr_ratio"]
    return LoraConfig(**values, bias="none", task_type=task_type)


def changes_base(options: LoraOptions) -> bool:
    """PiSSA and OLoRA take what they begin with out of the base's weights."""
    return options.init_lora_weights != "default"


def refuses(options: LoraOptions, quantization: str) -> str:
    if changes_base(options):
        return f"{options.init_lora_weights} takes its beginning out of the weights, which must not be quantized then."
    if options.use_dora and quantization == "int8":
        return "DoRA reads the weights at every step, which PEFT cannot do with bitsandbytes' 8-bit layers; nf4 works."
    return ""


def begin(trainer: Any, options: LoraOptions, folder: Path) -> None:
    """Keep what the adapter began with: the result is the difference to it."""
    if changes_base(options):
        trainer.model.save_pretrained(str(folder / INITIAL))


def groups(model: Any, options: LoraOptions, learning_rate: float, weight_decay: float) -> list[dict[str, Any]] | None:
    """LoRA+: B and one-dimensional weights learn faster by the ratio (as peft.optimizers.create_loraplus_optimizer)."""
    if options.loraplus_lr_ratio == 1:
        return None
    slow: list[Any] = []
    fast: list[Any] = []
    plain: list[Any] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            (plain if weight.ndim == 1 else fast if "lora_B" in name else slow).append(weight)
    faster = learning_rate * options.loraplus_lr_ratio
    return [
        {"params": slow, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": fast, "lr": faster, "weight_decay": weight_decay},
        {"params": plain, "lr": faster, "weight_decay": 0.0},
    ]


def save(trainer: Any, options: LoraOptions, folder: Path, job: Path) -> None:
    """The adapter; one that changed the base as plain LoRA for the unchanged base."""
    if not changes_base(options):
        trainer.save_model(str(folder))
        return
    trainer.model.save_pretrained(str(folder), path_initial_model_for_weight_conversion=str(job / INITIAL))
    _add_head(trainer.model, folder / "adapter_model.safetensors")
    trainer.processing_class.save_pretrained(str(folder))


def _add_head(model: Any, file: Path) -> None:
    """PEFT's conversion keeps the matrices alone; a reward model has learned its head as well."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    matrices = load_file(file)
    rest = {name: weight for name, weight in get_peft_model_state_dict(model).items() if name not in matrices}
    if rest:
        save_file({**matrices, **rest}, file, metadata={"format": "pt"})


LORA = Tuner(
    name="lora",
    title="LoRA",
    summary="Small matrices beside the frozen weights are trained: little memory, a file of a few megabytes.",
    options=LoraOptions,
    peft_config=peft_config,
    library_class="LoraConfig",
    own_options=("loraplus_lr_ratio",),
    mixes=lambda options: not options.use_dora,
    merges=lambda options: True,
    refuses=refuses,
    changes_base=changes_base,
    check=check_where,
    begin=begin,
    groups=groups,
    save=save,
)
