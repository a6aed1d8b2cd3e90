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
        "on: the stage before. Empty: begin with the base model.",
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
    base_model: str
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


AnySpec = TrainSpec | ServeSpec
SpecKind = TypeVar("SpecKind", TrainSpec, ServeSpec)

# Fields that say what is trained on what, rather than how; forms and `--set` treat them apart.
IDENTITY_FIELDS = ("kind", "dataset", "eval_dataset", "general_dataset", "objective", "tuner")
OPTION_GROUPS = ("tuner", "objective")


def build_spec(values: Mapping[str, Any]) -> TrainSpec:
    """A checked spec. Raises UserError that names every option that is out of place, in its title."""
    return _checked(TrainSpec, values)


def read_spec(path: Path) -> AnySpec:
    """The spec in a folder, of the kind that it says. Raises UserError when it cannot be read."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path.name} of the job {path.parent.name} cannot be read: {error}.") from None
    if isinstance(values, dict) and values.get("kind") == "serve":
        return _checked(ServeSpec, values)
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


def _checked(kind: type[SpecKind], values: Mapping[str, Any]) -> SpecKind:
    try:
        return kind(**values)
    except ValidationError as error:
        lines = [_sentence(problem["loc"], problem["msg"], problem.get("input")) for problem in error.errors()]
        raise UserError(" ".join(lines), "Change the value and try again.") from None


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
