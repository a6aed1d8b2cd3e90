"""What the merge form offers and asks: adapters, methods, figures that follow the sliders."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio import workspace as names
from studio.adapters.record import ImportedAdapters
from studio.base_models import STARTER
from studio.errors import UserError
from studio.jobs.merge_figures import FigureDesk
from studio.jobs.merge_sources import CONFIG, TUNER_OF, Source, mergeable, read_source
from studio.jobs.merging import check_contents, check_same_base, check_sizes, plan_merge
from studio.jobs.spec import MergeSpec, checked
from studio.jobs.studio import Studio
from studio.methods.merging import MERGE_METHODS
from studio.ui.forms import literal_choices
from studio.ui.i18n import Language
from studio.ui.refusals import told_error
from studio.workspace import read_json

MOST_ADAPTERS = 6
UNPLANNED = {"base_model": "?", "objective": "sft", "tuner": "lora", "chat_template": "model"}


@dataclass
class MergeRoom:
    """One a studio. All names come from a browser and are checked where they become a path."""

    studio: Studio
    desk: FigureDesk = field(default_factory=FigureDesk)

    def menus(self) -> dict[str, Any]:
        """{"adapters", "methods", "most"}: what can be chosen."""
        return {"adapters": list(self._adapters()), "methods": methods(), "most": MOST_ADAPTERS}

    def figures(self, values: Mapping[str, Any], language: Language = "en") -> dict[str, Any]:
        """What would come of a merge, where updates can be compared; "problem": why it cannot be started, if so.

        Of one that cannot be started the figures are those of the plain sum.
        """
        told: dict[str, Any] = {}
        try:
            plan_merge(values, self.studio.workspace)
        except UserError as error:
            told["problem"] = told_error(error, language)
        sum_only = {"method": {"name": "cat"}} if told else {}
        spec = checked(MergeSpec, {**values, **UNPLANNED, **sum_only})
        sources = [read_source(source.adapter, self.studio.workspace) for source in spec.sources]
        return (self.desk.figures(sources, spec) if _measurable(sources) else {}) | told

    def start(self, values: Mapping[str, Any]) -> str:
        """Put a merge into the line; its job's id. Raises UserError."""
        return self.studio.start_merge(plan_merge(values, self.studio.workspace))

    def _adapters(self) -> Iterator[dict[str, Any]]:
        """All adapters, those of the newest jobs first, each job's checkpoints behind its result."""
        workspace = self.studio.workspace
        jobs = {view.id: view for view in self.studio.store.views()}
        imported = {record.id: record.name for record in ImportedAdapters(workspace).records()}
        order = {job_id: place for place, job_id in enumerate(jobs)}
        for name in sorted(mergeable(workspace), key=lambda one: order.get(one.partition("@")[0], len(order))):
            folder = workspace.adapter_folder(name)
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            view = jobs.get(name.partition("@")[0])
            origin = read_json(folder / names.ORIGIN) or {}
            base = view.spec.base_model if view else str(origin.get("base_model", ""))
            yield {
                "name": name,
                "title": view.name if view else imported.get(name, name),
                "step": name.partition("@")[2],
                "base_model": STARTER if base == "starter" else base,
                "kind": config.get("peft_type", ""),
                "tuner": TUNER_OF.get(str(config.get("peft_type")), ""),
                "rank": config.get("r") if config.get("peft_type") == "LORA" else None,
            }


def methods() -> list[dict[str, Any]]:
    """The registry for the page: its titles and help are words."""
    return [
        {
            "name": method.name,
            "exact": method.acts_on == "stack",
            "cuts": method.acts_on == "updates",
            "options": [
                {
                    "name": name,
                    "default": option.default,
                    "choices": list(literal_choices(option.annotation)),
                    "whole": option.annotation is int,
                }
                for name, option in method.options.model_fields.items()
                if name != "name"
            ],
        }
        for method in MERGE_METHODS.values()
    ]


def _measurable(sources: list[Source]) -> bool:
    """Whether updates can be compared: LoRA adapters of one base and one size."""
    if any(source.kind != "LORA" for source in sources):
        return False
    try:
        check_same_base(sources)
        check_sizes(sources)
        for source in sources:
            check_contents(source)
    except UserError:  # told already, as the problem
        return False
    return True
