"""All that a worker is told: the spec, a YAML file in the job's folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from studio.errors import UserError
from studio.jobs.training_options import (
    DataOptions,
    DatasetReference,
    ForgettingOptions,
    LearningOptions,
    Quantization,
    ReportOptions,
    Strict,
)
from studio.methods.merging import MERGE_METHODS, CatOptions
from studio.methods.objectives import OBJECTIVES
from studio.methods.objectives.sft import SFTOptions
from studio.methods.options import Options
from studio.methods.tuners import TUNERS
from studio.methods.tuners.lora import LoraOptions

if TYPE_CHECKING:
    ObjectiveOptions = Options
    TunerOptions = Options
    MergeOptions = Options
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
    MergeOptions = Annotated[
        Union[tuple(method.options for method in MERGE_METHODS.values())],  # noqa: UP007
        Field(discriminator="name"),
    ]


class _Identity(Strict):
    """Which model learns what, and by which method."""

    kind: Literal["train"] = "train"
    name: str = Field(default="", max_length=80, title="Name", description="What the job is called in lists.")
    base_model: str = Field(
        default="starter",
        min_length=1,
        max_length=400,
        title="Base model",
        description="The starter model, a Hub id (organisation/model) or the full path of a model folder.",
    )
    start_from: str = Field(
        default="",
        max_length=80,
        title="Continue from",
        description="A finished job whose adapter (of the same base model and tuner options) or whole model is learned "
        "on: the stage before. JOB@STEP for one of its checkpoints, or an imported LoRA adapter. Empty: begin with the "
        "base model.",
    )
    dataset: DatasetReference
    objective: ObjectiveOptions = SFTOptions()
    tuner: TunerOptions = LoraOptions()


# Pydantic begins with the fields of the last base; their order is that of files, forms and pages.
class TrainSpec(ReportOptions, LearningOptions, ForgettingOptions, DataOptions, Quantization, _Identity):
    """One training job."""


class ServeSpec(Quantization, Strict):
    """One inference server: a base model that stays loaded, and the adapters of finished jobs on demand."""

    kind: Literal["serve"] = "serve"
    base_model: str = Field(title="Base model", description="The model that is kept loaded.")
    idle_seconds: float = Field(default=1800, gt=0, description="It ends by itself after so long without a request.")
    max_batch_size: int = Field(default=16, ge=1, le=256, description="Conversations that share a pass at most.")
    adapter_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Memory for adapters; those used longest ago make room. None: 15 % of what the base leaves free.",
    )
    cache_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Memory for what is remembered of conversations. None: 35 % of what the base leaves free.",
    )


class MergeSource(Strict):
    """One adapter of a merge, and how much of it goes in."""

    adapter: str = Field(
        min_length=1,
        max_length=100,
        title="Adapter",
        description="A finished job, JOB@STEP for one of its checkpoints, or an imported adapter.",
    )
    weight: float = Field(
        default=1.0,
        ge=-10,
        le=10,
        title="Weight",
        description="How much of this adapter's update goes in; below 0 it is taken away.",
    )


class MergeSpec(Strict):
    """One merge: several adapters of a base model into one, or what they make of the base as a whole model.

    `base_model`, `objective`, `tuner` and `chat_template` are not chosen: they are what the adapters (and the result)
    have, noted when the merge is planned.
    """

    kind: Literal["merge"] = "merge"
    name: str = Field(default="", max_length=80, title="Name", description="What the job is called in lists.")
    sources: tuple[MergeSource, ...] = Field(min_length=1, max_length=16, title="Adapters")
    method: MergeOptions = CatOptions()
    into_base: bool = Field(
        default=False,
        title="Into the base model",
        description="Make a whole model of the base and the adapters, which needs no adapter any more.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        title="Precision of the model",
        description="Number format of the whole model. auto: the one that the base model is kept in.",
    )
    seed: int = Field(
        default=42, ge=0, le=2**31 - 1, title="Seed", description="What DARE draws by: the same seed, the same adapter."
    )
    base_model: str
    objective: str
    tuner: str
    chat_template: Literal["model", "plain"]


JobSpec = TrainSpec | MergeSpec
AnySpec = JobSpec | ServeSpec
SpecKind = TypeVar("SpecKind", bound=Strict)
KINDS: dict[str, type[AnySpec]] = {"train": TrainSpec, "merge": MergeSpec, "serve": ServeSpec}

# Fields that say what is trained on what, rather than how; forms and `--set` treat them apart.
IDENTITY_FIELDS = ("kind", "dataset", "eval_dataset", "general_dataset", "objective", "tuner")
OPTION_GROUPS = ("tuner", "objective")


def build_spec(values: Mapping[str, Any]) -> TrainSpec:
    """A checked spec. Raises UserError that names every option that is out of place, in its title."""
    return checked(TrainSpec, values)


def read_spec(path: Path) -> AnySpec:
    """The spec in a folder, of the kind that it says. Raises UserError when it cannot be read."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path.name} of the job {path.parent.name} cannot be read: {error}.") from None
    values = values if isinstance(values, dict) else {}
    kind = KINDS.get(str(values.get("kind", "train")))
    if kind is None:
        raise UserError(f"{path.parent.name} is a job of a kind that this studio does not know.", "Update the studio.")
    return checked(kind, values)


def read_train_spec(path: Path) -> TrainSpec:
    """The spec in a job's folder. Raises UserError when it cannot be read or is of another kind."""
    spec = read_spec(path)
    if not isinstance(spec, TrainSpec):
        raise UserError(f"{path.parent.name} is not a training job.")
    return spec


def read_job_spec(path: Path) -> JobSpec:
    """The spec in a job's folder, whatever kind of job. Raises UserError when it cannot be read."""
    spec = read_spec(path)
    if isinstance(spec, ServeSpec):
        raise UserError(f"{path.parent.name} is not a job.")
    return spec


def spec_text(spec: AnySpec) -> str:
    """The spec as YAML, in the order of its fields."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def option_fields(objective: str, tuner: str) -> Iterator[tuple[str, FieldInfo]]:
    """(key, field) of every option that a job with this objective and tuner has: `learning_rate`, `tuner.r` …"""
    for name, field in TrainSpec.model_fields.items():
        if name not in IDENTITY_FIELDS:
            yield name, field
    for group, options in zip(OPTION_GROUPS, (TUNERS[tuner].options, OBJECTIVES[objective].options), strict=True):
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
    elif group not in OPTION_GROUPS:
        raise UserError(f"There is no option {key!r} here.", "`python -m studio options` lists them all.")
    if group in ("objective", "tuner") and name == "name" and values.get(group, {}).get("name") != value:
        values[group] = {}  # another method has other options
    target = values.setdefault(group, {}) if group else values
    target[name] = value


def checked(kind: type[SpecKind], values: Mapping[str, Any]) -> SpecKind:
    """A spec of a kind. Raises UserError that names every option that is out of place, in its title."""
    try:
        return kind(**values)
    except ValidationError as error:
        lines = [_sentence(kind, problem["loc"], problem["msg"], problem.get("input")) for problem in error.errors()]
        raise UserError(" ".join(lines), "Change the value and try again.") from None


def _sentence(kind: type[BaseModel], location: tuple[int | str, ...], message: str, value: Any) -> str:
    parts = [str(part) for part in location]
    shown = f" (it is {value!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{_title(kind, parts)}: {message}{shown}."


def _title(kind: type[BaseModel], parts: list[str]) -> str:
    """The title of the option at a location such as ("tuner", "lora", "r")."""
    registries: dict[str, Any] = {"tuner": TUNERS, "objective": OBJECTIVES, "method": MERGE_METHODS}
    model = kind
    if len(parts) >= 2 and parts[0] in registries and parts[1] in registries[parts[0]]:
        model, parts = registries[parts[0]][parts[1]].options, parts[2:] or parts[:1]
    elif len(parts) == 3 and parts[0] == "sources":
        model, parts = MergeSource, parts[2:]
    field = model.model_fields.get(parts[0])
    return field.title if field is not None and field.title else ".".join(parts)
