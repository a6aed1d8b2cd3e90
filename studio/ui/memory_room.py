"""What the Memory tab shows, in plain values: estimate, knobs, cards, the document, measurements. No Gradio in here."""

import time
from typing import Any

from studio.base_models import STARTER
from studio.errors import UserError
from studio.jobs.memory_plan import box_of, read_measured
from studio.jobs.studio import Studio
from studio.memory import calibration, document, gpus, knobs, models, simulation
from studio.memory.answer import answer
from studio.memory.calibration import Measured
from studio.memory.estimate import Box
from studio.memory.gpus import Card
from studio.memory.rescue import rescue
from studio.memory.setup import OBJECTIVES, OPTIMIZERS, TUNERS, Setup
from studio.memory.shapes import Config, Shape, UnknownArchitecture, read_shape
from studio.ui.memory_plan import lengths_of
from studio.ui.memory_requests import MemoryWish
from studio.ui.menus import base_model_choices

LOOKED_EVERY = 5.0  # seconds
KEPT = 64  # configs of models that are remembered


class MemoryRoom:
    """Answers for one studio; the configs of models that were asked for are kept."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._configs: dict[str, Config] = {}
        self._shapes: dict[str, Shape] = {}
        self._seen: tuple[float, list[Card], list[Measured]] = (0.0, [], [])

    def _box(self) -> tuple[list[Card], list[Measured]]:
        """This box's cards and what its jobs measured, looked at anew every few seconds: the driver takes a while."""
        if not self._seen[0] or time.monotonic() - self._seen[0] > LOOKED_EVERY:
            self._seen = (time.monotonic(), gpus.of_this_box(), read_measured(self.studio.workspace))
        return self._seen[1], self._seen[2]

    def menus(self) -> dict[str, Any]:
        """Models, cards and words to choose from; the cards of this box come first."""
        own, measured = self._box()
        known = [{"name": name, "parameters": count} for name, count in models.parameter_counts().items()]
        here = [{"name": name, "parameters": None} for _, name in base_model_choices(self.studio)]
        names = {one["name"] for one in known}
        return {
            "models": known + [one for one in here if one["name"] not in names],
            "cards": [_card(card) for card in (*own, *gpus.catalogue().values())],
            "tuners": list(TUNERS),
            "objectives": list(OBJECTIVES),
            "optimizers": list(OPTIMIZERS),
            "starter": STARTER,
            "datasets": [{"id": one.id, "name": one.name, "rows": one.rows} for one in self.studio.datasets()],
            "measured": calibration.rows(measured),
            "document": document.beside(),
        }

    def estimate(self, model: str, card_name: str, setup: Setup) -> dict[str, Any]:
        """Everything that follows the form. Raises UserError, UnknownArchitecture among them."""
        shape, card = self.shape(model), self._card(card_name)
        _, measured = self._box()
        box = calibration.fit(measured, card.name)
        factor, timed = calibration.speed_factor(measured, card.name)
        values = answer(setup, shape, card, box, factor)
        ways = [] if values["fits"] else knobs.settings_that_fit(setup, shape, card.usable, box)
        sizes = {one.name: one.usable for one in gpus.catalogue().values()}
        return {
            **values,
            "free": card.free,
            "knobs": knobs.knobs(setup, shape, card.usable, box),
            "ways": ways,
            "rescue": None if values["fits"] or ways else _rescue(setup, shape, card, box),
            "table": knobs.table(setup, shape, sizes),
            "timed_jobs": timed,
            "jobs": box.jobs,
        }

    def simulate(self, model: str, card_name: str, setup: Setup) -> dict[str, Any]:
        """The simulation beside the formula, where there is one; `shown`: what the page shows in place of the
        formula's numbers where the simulation is believed, else None. Takes seconds."""
        card, found = self._card(card_name), simulation.simulate(self._config(model), setup)
        try:
            box = box_of(self.studio.workspace, card)
            values = answer(setup, self.shape(model), card, box)
            whole = simulation.merge(values, simulation.compare(found, values["allocated"]), setup, card, box)
        except UnknownArchitecture:
            whole = simulation.alone(found, setup, card)
        told = whole.pop("simulation")
        return {**told, "shown": whole if told["believed"] == "simulation" else None}

    def lengths(self, dataset: str, model: str) -> dict[str, Any]:
        """Length and learned share of a data set, cut where the model's context ends. Raises UserError."""
        try:
            most = self.shape(model).max_length
        except UserError:
            most = 0
        return lengths_of(self.studio, dataset, model, most)

    def shape(self, model: str) -> Shape:
        """The shape of a model by name. Raises UserError."""
        if model not in self._shapes:
            self._shapes[model] = read_shape(self._config(model))
        return self._shapes[model]

    def _config(self, model: str) -> Config:
        if model not in self._configs:
            found = models.config_of(
                model,
                self.studio.workspace.models,
                hub_timeout=self.studio.settings.hub_timeout,
                roots=self.studio.model_roots,
            )
            while len(self._configs) >= KEPT:
                self._configs.pop(next(iter(self._configs)))
            self._configs[model] = found
        return self._configs[model]

    def _card(self, name: str) -> Card:
        own, _ = self._box()
        return next((card for card in own if card.name == name), None) or (
            gpus.find(name) if name else (own[0] if own else gpus.find("RTX 4090"))
        )


def _card(card: Card) -> dict[str, Any]:
    return {"name": card.name, "usable": card.usable, "kind": card.kind, "free": card.free}


def _rescue(setup: Setup, shape: Shape, card: Card, box: Box) -> dict[str, Any]:
    """What would do, with those changes that the form has a field for."""
    found = rescue(setup, shape, card.usable, box)
    return found | {"lean": {name: value for name, value in found["lean"].items() if name in MemoryWish.model_fields}}
