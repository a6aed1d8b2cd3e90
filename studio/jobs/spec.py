"""All that a worker is told: the spec, a YAML file in the job's folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from studio.errors import UserError
from studio.methods.objectives import OBJECTIVES
from studio.methods.objectives.sft import SFTOptions
from studio.methods.options import Options
from studio.methods.tuners import TUNERS
from studio.methods.tuners.lora import LoraOptions

if TYPE_CHECKING:
    ObjectiveOptions = Options
    TunerOptions = Options
else:
    # The unions are made of the registries, so that a new objective or tuner is one file and one line.
    ObjectiveOptions = Annotated[
        Union[tuple(objective.options for objective in OBJECTIVES.values())],  # noqa: UP007
        Field(discriminator="name"),
    ]
    TunerOptions = Annotated[
        Union[tuple(tuner.options for tuner in TUNERS.values())],  # noqa: UP007
        Field(discriminator="name"),
    ]


class DatasetReference(BaseModel):
    """Which data set, and the hash that its examples had when the job was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    sha256: str


class Quantization(BaseModel):
    """How the frozen base model is kept in memory. With LoRA, nf4 is what is called QLoRA."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantization: Literal["none", "nf4"] = Field(
        default="none",
        title="Quantization",
        description="nf4 keeps the frozen base model in 4 bits (QLoRA): about a quarter of the memory, slower.",
    )
    bnb_4bit_use_double_quant: bool = Field(
        default=True,
        title="Double quantization",
        description="With nf4: quantize the scales as well, which saves 0.37 bits a weight.",
    )


class TrainSpec(Quantization):
    """One training job."""

    kind: Literal["train"] = "train"
    name: str = Field(default="", max_length=80, title="Name", description="What the job is called in lists.")
    base_model: str = Field(
        default="starter",
        min_length=1,
        max_length=400,
        title="Base model",
        description="The starter model, a Hub id (organisation/model) or the full path of a model folder.",
    )
    dataset: DatasetReference
    objective: ObjectiveOptions = SFTOptions()
    tuner: TunerOptions = LoraOptions()
    eval_share: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        title="Share for evaluation",
        description="Share of the examples that is kept out of training to measure the evaluation loss.",
    )
    chat_template: Literal["model", "plain"] = Field(
        default="model",
        title="Chat template",
        description="The model's own, or a plain one (### User: …) for base models that bring none.",
    )
    max_length: int = Field(
        default=512,
        ge=8,
        le=1_048_576,
        title="Max length",
        description="Tokens kept of each example; the rest is cut off. Memory and time grow with it.",
    )
    learning_rate: float = Field(
        default=2e-4,
        gt=0,
        le=1,
        title="Learning rate",
        description="Size of the steps. 1e-4 to 3e-4 for LoRA, 1e-5 to 5e-5 for full fine-tuning, "
        "5e-6 to 5e-5 for preference pairs.",
    )
    num_train_epochs: float = Field(
        default=3,
        gt=0,
        le=1000,
        title="Epochs",
        description="How often every example is seen. 1 to 3 as a rule; more on very small sets.",
    )
    max_steps: int = Field(
        default=-1,
        ge=-1,
        le=10_000_000,
        title="Max steps",
        description="Stop after this many optimizer steps, whatever the epochs say. -1: no such limit.",
    )
    per_device_train_batch_size: int = Field(
        default=4,
        ge=1,
        le=4096,
        title="Batch size",
        description="Examples at once on the device. More is steadier and faster, and takes more memory.",
    )
    gradient_accumulation_steps: int = Field(
        default=1,
        ge=1,
        le=4096,
        title="Gradient accumulation",
        description="Batches collected before a step: acts like a larger batch without its memory.",
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        default="cosine",
        title="Schedule",
        description="How the learning rate falls over the training.",
    )
    warmup_steps: float = Field(
        default=0.03,
        ge=0,
        le=100_000,
        title="Warm-up",
        description="Steps until the full learning rate is reached; a number below 1 is a share of all steps.",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Weight decay",
        description="Pull of the weights towards zero: 0 for LoRA, 0.01 to 0.1 for full fine-tuning.",
    )
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        title="Max gradient norm",
        description="Longer gradients are shortened to this length, which tames single bad examples.",
    )
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"] = Field(
        default="adamw_torch",
        title="Optimizer",
        description="adamw_torch is the standard. The 8-bit ones save memory on NVIDIA cards, the paged one "
        "moves its states to main memory when the card is full.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        title="Precision",
        description="Number format of the weights. auto: bfloat16 where the hardware has it, else float32; full "
        "fine-tuning keeps float32 weights.",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Gradient checkpointing",
        description="Compute activations again instead of keeping them: less memory, about a third slower. "
        "auto: only when memory would not suffice.",
    )
    train_sampling_strategy: Literal["random", "group_by_length"] = Field(
        default="random",
        title="Batches",
        description="group_by_length puts examples of similar length together: less padding on a GPU.",
    )
    seed: int = Field(
        default=42,
        ge=0,
        le=2**31 - 1,
        title="Seed",
        description="The same seed, data and options give the same adapter on a CPU, to the last bit.",
    )
    logging_steps: int = Field(
        default=1, ge=1, le=10_000, title="Log every", description="Steps between two points of the charts."
    )
    eval_steps: int = Field(
        default=20, ge=1, le=1_000_000, title="Evaluate every", description="Steps between two evaluations."
    )
    save_steps: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        title="Checkpoint every",
        description="Steps between two checkpoints; a killed job loses at most this many.",
    )
    save_total_limit: int = Field(
        default=2, ge=1, le=100, title="Checkpoints kept", description="Older checkpoints are deleted."
    )


class ServeSpec(BaseModel):
    """One inference server: a base model that stays loaded, and the adapters of finished jobs on demand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["serve"] = "serve"
    base_model: str
    idle_seconds: float = Field(default=1800, gt=0, description="It ends by itself after so long without a request.")


AnySpec = TrainSpec | ServeSpec

# Fields that say what is trained on what, rather than how; forms and `--set` treat them apart.
IDENTITY_FIELDS = ("kind", "dataset", "objective", "tuner")


def build_spec(values: Mapping[str, Any]) -> TrainSpec:
    """A checked spec. Raises UserError that names every option that is out of place, in its title."""
    try:
        return TrainSpec(**values)
    except ValidationError as error:
        lines = [_sentence(problem["loc"], problem["msg"], problem.get("input")) for problem in error.errors()]
        raise UserError(" ".join(lines), "Change the value and try again.") from None


def read_spec(path: Path) -> AnySpec:
    """The spec in a folder, of the kind that it says. Raises UserError when it cannot be read."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path.name} of the job {path.parent.name} cannot be read: {error}.") from None
    if isinstance(values, dict) and values.get("kind") == "serve":
        return ServeSpec(**values)
    return build_spec(values if isinstance(values, dict) else {})


def read_train_spec(path: Path) -> TrainSpec:
    """The spec in a job's folder. Raises UserError when it cannot be read or is of another kind."""
    spec = read_spec(path)
    if not isinstance(spec, TrainSpec):
        raise UserError(f"{path.parent.name} is not a training job.")
    return spec


def spec_text(spec: AnySpec) -> str:
    """The spec as YAML, in the order of its fields."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def option_fields(objective: str, tuner: str) -> Iterator[tuple[str, FieldInfo]]:
    """(key, field) of every option that a job with this objective and tuner has: `learning_rate`, `tuner.r` …"""
    for name, field in TrainSpec.model_fields.items():
        if name not in IDENTITY_FIELDS:
            yield name, field
    for group, options in (("tuner", TUNERS[tuner].options), ("objective", OBJECTIVES[objective].options)):
        for name, field in options.model_fields.items():
            if name != "name":
                yield f"{group}.{name}", field


def set_option(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one option in spec values: `learning_rate`, `tuner.r`, or `r` where only one group has it."""
    group, _, name = key.rpartition(".")
    if not group:
        fields = option_fields(values["objective"]["name"], values["tuner"]["name"])
        full_names = [full for full, _ in fields if full.rpartition(".")[2] == name]
        if not full_names:
            raise UserError(f"There is no option {key!r} here.", "`python -m studio options` lists them all.")
        group, _, name = full_names[0].rpartition(".")
    target = values.setdefault(group, {}) if group else values
    target[name] = value


def _sentence(location: tuple[int | str, ...], message: str, value: Any) -> str:
    parts = [str(part) for part in location]
    shown = f" (it is {value!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{_title(parts)}: {message}{shown}."


def _title(parts: list[str]) -> str:
    """The title of the option at a location such as ("tuner", "lora", "r")."""
    registries: dict[str, Any] = {"tuner": TUNERS, "objective": OBJECTIVES}
    model: type[BaseModel] = TrainSpec
    if len(parts) >= 2 and parts[0] in registries and parts[1] in registries[parts[0]]:
        model, parts = registries[parts[0]][parts[1]].options, parts[2:] or parts[:1]
    field = model.model_fields.get(parts[0])
    return field.title if field is not None and field.title else ".".join(parts)
