"""Which choices of the menus are not possible, each with why; the page greys them out."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from studio.data.dataset import DatasetRecord
from studio.errors import UserError
from studio.jobs.preflight import check_combination, check_data, check_hardware
from studio.jobs.presets import PLACEHOLDER_DATASET, read_presets
from studio.jobs.spec import TrainSpec, build_spec, option_fields, set_option
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui.forms import control_id, literal_choices
from studio.ui.i18n import Language
from studio.ui.refusals import told_refusal
from studio.ui.training_wish import ADVICE, Wish

QUANTIZATIONS = literal_choices(TrainSpec.model_fields["quantization"].annotation)
ROOM = {"per_device_train_batch_size": 8}  # a batch size that is too small is the plan's to tell, not the menu's
ON_THIS_MACHINE = ("optim", "dtype")  # what a machine without a card cannot do
Reasons = dict[str, dict[str, str]]  # menu → {place in the menu: why that choice is not possible}


def told_reasons(reasons: Reasons, language: Language) -> Reasons:
    """The same in the reader's language."""
    return {
        menu: {place: told_refusal(reason, language) for place, reason in entries.items()}
        for menu, entries in reasons.items()
    }


def impossible(record: DatasetRecord, wish: Wish, spec: TrainSpec | None, config: dict[str, Any]) -> Reasons:
    """What cannot be chosen now: objectives, tuners, presets and values of options, by their places in the menus.

    `spec` is what the form says, None while it says nothing valid: then its methods' defaults are looked at.
    """
    given = spec.model_dump() if spec is not None else _defaults(wish.objective, wish.tuner)
    menus: dict[str, list[dict[str, Any]]] = {
        "objective": [{"objective": _options(given, "objective", name), **ROOM} for name in OBJECTIVES],
        "tuner": [{"tuner": _options(given, "tuner", name)} for name in TUNERS],
        "option-quantization": [{"quantization": name} for name in QUANTIZATIONS],
    }
    found: Reasons = {}
    for menu, changes in menus.items():
        rows = record if menu == "objective" else None
        reasons = (_reason(rows, {**given, **change}, config) for change in changes)
        found[menu] = {str(place): reason for place, reason in enumerate(reasons) if reason}
    if spec is not None:
        found |= {control_id(key): reasons for key, reasons in _options_reasons(spec, config)}
    presets = enumerate(_preset_reasons(record, config), 1)  # the first of the menu is the advice
    found["preset"] = {str(place): reason for place, reason in presets if reason}
    return found


def _options_reasons(spec: TrainSpec, config: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """(key, {place: why}) of every option with a list of values; what speaks against them all is none of theirs."""
    for key, field in option_fields(spec.objective.name, spec.tuner.name):
        choices = literal_choices(field.annotation)
        if not choices or key == "quantization":
            continue
        reasons = [_value_reason(spec, key, choice, config) for choice in choices]
        shared = max(reasons, key=reasons.count) if all(reasons) else ""
        yield key, {str(place): reason for place, reason in enumerate(reasons) if reason != shared and reason}


def _value_reason(spec: TrainSpec, key: str, choice: str, config: dict[str, Any]) -> str:
    values = spec.model_dump()
    set_option(values, key, choice)
    checks = (check_hardware,) if key in ON_THIS_MACHINE else ()
    return _reason(None, values, config, checks=(*checks, OBJECTIVES[spec.objective.name].check))


def _options(given: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    """The form's options where the method is the chosen one, else that method's defaults.

    What only its options lack, such as a reward, does not make a method impossible.
    """
    if group == "objective" and OBJECTIVES[name].rewarded:
        return {"name": name, "reward_json": True}
    return given[group] if given[group]["name"] == name else {"name": name}


def _preset_reasons(record: DatasetRecord, config: dict[str, Any]) -> Iterator[str]:
    for values in preset_values().values():
        yield _reason(record, values, config)


@cache
def preset_values() -> dict[str, dict[str, Any]]:
    """Every preset's values, in the order of the menu."""
    return {name: preset.values() for name, preset in read_presets().items() if name != ADVICE}


def _defaults(objective: str, tuner: str) -> dict[str, Any]:
    wanted = {
        "objective": {"name": objective if objective in OBJECTIVES else "sft"},
        "tuner": {"name": tuner if tuner in TUNERS else "lora"},
    }
    return build_spec({**wanted, "dataset": PLACEHOLDER_DATASET}).model_dump()


def _reason(
    record: DatasetRecord | None,
    values: dict[str, Any],
    config: dict[str, Any],
    checks: tuple[Callable[[TrainSpec], None], ...] = (),
) -> str:
    """Why a job with these values cannot be; empty when it can. `record`: the data set, where it counts."""
    try:
        spec = build_spec(values)
        if record is not None:
            check_data(spec, record, max(2, record.rows))
        check_combination(spec)
        for check in checks:
            check(spec)
        if config:
            TUNERS[spec.tuner.name].check(spec.tuner, config)
    except UserError as error:
        return error.message
    return ""
