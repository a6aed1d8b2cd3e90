"""What the Train tab was told → a spec: by the answers to five questions, or by the form with every option."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from studio.data.dataset import read_record
from studio.errors import UserError
from studio.jobs.presets import PLACEHOLDER_DATASET, Preset, read_presets
from studio.jobs.spec import TrainSpec, build_spec
from studio.jobs.studio import Studio
from studio.jobs.training_data import refer_to
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui.advising import advised
from studio.ui.option_form import Option, set_options

Mode = Literal["simple", "advanced"]
MODES: tuple[Mode, ...] = get_args(Mode)
ADVICE = "advice"  # the preset that is not a file: what the answers lead to


@dataclass(frozen=True)
class Wish:
    """What was chosen, beside the options, in the order of the tab's parts.

    `card` is "here" or a card's memory in GB; `hurry` "yes" or "no". The other data sets are empty when there are none.
    """

    base_model: str | None
    dataset: str | None
    mode: str = "advanced"
    task: str = "chat"
    card: str = "here"
    hurry: str = "no"
    preset: str = "lora"
    objective: str = "sft"
    tuner: str = "lora"
    eval_dataset: str | None = ""
    general_dataset: str | None = ""
    name: str | None = ""


def spec_of(studio: Studio, options: list[Option], wish: Wish, values: tuple[Any, ...]) -> TrainSpec:
    """The tab as a spec. Raises UserError naming what is missing or out of place."""
    if not wish.dataset:
        raise UserError("No data set is chosen.", "Go to Data and drop a file, or take a sample.")
    if wish.mode not in MODES:
        raise UserError(f"There is no form {wish.mode[:20]!r}.", "Choose Simple or Advanced.")
    record = read_record(studio.workspace.dataset(wish.dataset))
    spec: dict[str, Any] = {"dataset": refer_to(record.id, studio.workspace).model_dump()}
    if wish.mode == "simple":
        spec |= advised(studio, wish)
    else:
        spec |= base_values(wish)
        chosen = {"eval_dataset": wish.eval_dataset, "general_dataset": wish.general_dataset}
        spec |= {key: refer_to(one, studio.workspace).model_dump() if one else None for key, one in chosen.items()}
        set_options(spec, options, values)
    spec["base_model"] = (wish.base_model or "").strip()
    spec["name"] = ((wish.name or "").strip() or f"{record.name} · {method_title(spec, wish)}")[:80]
    return build_spec(spec)


def base_values(wish: Wish) -> dict[str, Any]:
    """The values of the chosen preset, of the chosen objective and tuner; data and name are the caller's.

    Raises UserError when there is no such preset or method.
    """
    spec = preset_of(wish.preset).values() if wish.preset != ADVICE else default_values()
    for group, name, registry in (("objective", wish.objective, OBJECTIVES), ("tuner", wish.tuner, TUNERS)):
        if name not in registry:
            raise UserError(f"There is no {group} {str(name)[:40]!r}.", "Choose one of the list.")
        if spec[group]["name"] != name:
            spec[group] = {"name": name}
    return {key: value for key, value in spec.items() if key != "dataset"}


def default_values() -> dict[str, Any]:
    """The spec's own defaults."""
    return build_spec({"dataset": PLACEHOLDER_DATASET}).model_dump()


def preset_of(name: str) -> Preset:
    """A preset of the menu. Raises UserError when there is none of that name."""
    presets = read_presets()
    if name not in presets:
        raise UserError(f"There is no preset {str(name)[:40]!r}.", "Choose one of the list.")
    return presets[name]


def method_title(spec: dict[str, Any], wish: Wish) -> str:
    """What a job without a name is called: its preset's title, or its method's where that is another one."""
    objective, tuner = spec["objective"]["name"], spec["tuner"]["name"]
    if wish.mode == "advanced" and wish.preset != ADVICE:
        preset = preset_of(wish.preset)
        values = preset.values()
        if (values["objective"]["name"], values["tuner"]["name"]) == (objective, tuner):
            return preset.title
    quantized = tuner == "lora" and spec.get("quantization") == "nf4"
    title = "QLoRA" if quantized else TUNERS[tuner].title
    return title if objective == "sft" else f"{OBJECTIVES[objective].title} · {title}"
