"""What the advanced form is filled with: a preset, the advice when Simple is left, a fitting method for other rows."""

import json
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from studio.data.dataset import read_record
from studio.errors import UserError
from studio.jobs.chain import preset_for
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import Studio
from studio.methods.objectives import OBJECTIVES
from studio.ui.advising import advised
from studio.ui.option_form import OptionForm, value_updates
from studio.ui.training_wish import ADVICE, Wish, default_values

# Done by the page itself, with what the form holds at that moment: an answer that comes late takes nothing back.
MERGE = "(carried, ...now) => Studio.carry(carried, now)"


def advised_values(studio: Studio, wish: Wish) -> dict[str, Any]:
    """The whole spec that the answers lead to. Raises UserError."""
    return build_spec({**default_values(), **advised(studio, wish)}).model_dump()


def carried_over(studio: Studio, form: OptionForm, wish: Wish, values: tuple[Any, ...], carried: str) -> str:
    """What the page notes when Simple or Advanced was chosen, as JSON; `carried` is what it noted before.

    {"answers"}: those that the form has been filled by, so that a look at Simple takes nothing back; with {"before",
    "after"}: preset, objective, tuner and all controls as they were, and as the advice has them.
    """
    answers = [wish.base_model, wish.dataset, wish.task, wish.card, wish.hurry]
    noted = {"answers": answers}
    if wish.mode != "advanced" or _noted(carried).get("answers") == answers:
        return json.dumps(noted)
    try:
        advice = advised_values(studio, wish)
    except UserError:  # no data set yet: the plan says so
        return json.dumps({})
    return json.dumps({**noted, **_filling(form, wish, values, ADVICE, advice)})


def filled_in(
    form: OptionForm, wish: Wish, values: tuple[Any, ...], carried: str, preset: str, spec: dict[str, Any]
) -> str:
    """What the page notes when `preset` was asked for, whose whole spec's values are `spec`, as JSON.

    As in `carried_over`; the answers noted before stay noted.
    """
    noted = {key: value for key, value in _noted(carried).items() if key == "answers"}
    return json.dumps({**noted, **_filling(form, wish, values, preset, spec)})


def arrived(carried: str, shown: list[Any]) -> bool:
    """Whether preset, objective and tuner are those that were carried over: else the user has chosen others since."""
    return list(_noted(carried).get("after", []))[:3] == shown


def fitting_values(studio: Studio, dataset: str, objective: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Spec values of a preset that learns from a data set, None where the objective can; `given` comes on top.

    Raises UserError when there is no such data set.
    """
    kind = read_record(studio.workspace.dataset(dataset)).dataset_type
    if objective in OBJECTIVES and kind in OBJECTIVES[objective].dataset_types:
        return None
    fitting = next(name for name, one in OBJECTIVES.items() if kind in one.dataset_types and preset_for(name))
    return {**read_presets()[preset_for(fitting)].values(), **given}


def _filling(
    form: OptionForm, wish: Wish, values: tuple[Any, ...], preset: str, spec: dict[str, Any]
) -> dict[str, Any]:
    """{"before", "after"}: preset, objective, tuner and all controls as they are, and as `spec` has them; and an id.

    By the id the page knows what it has carried over: after an error it finds the last note, not a new one.
    """
    before = [wish.preset, wish.objective, wish.tuner, *values]
    after = [preset, spec["objective"]["name"], spec["tuner"]["name"], *_filled(form, spec, values)]
    return {"before": before, "after": after, "id": token_hex(8)}


def _filled(form: OptionForm, spec: dict[str, Any], values: tuple[Any, ...]) -> list[Any]:
    """A value for every control: the spec's, or what is shown where it has none."""
    updates = value_updates(form, spec)[: len(form.options)]
    pairs = zip(updates, values, strict=True)
    return [shown if isinstance(update, dict) else update for update, shown in pairs]


def _noted(text: str) -> dict[str, Any]:
    try:
        noted = json.loads(text or "{}")
    except ValueError:  # not written by us
        return {}
    return noted if isinstance(noted, dict) else {}
