"""presets/*.yaml → named starting points for a spec."""

import functools
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from studio.errors import UserError
from studio.jobs.spec import TrainSpec, build_spec, set_option
from studio.settings import REPOSITORY

FOLDER = REPOSITORY / "presets"
SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # YAML 1.1 takes 2e-4 for a text
WORD_FOR_WORD = ("name", "base_model")  # a name may be empty, or look like a number
PLACEHOLDER_DATASET = {"id": "none", "sha256": ""}
FIRST = ("lora", "qlora", "full", "dpo")  # the menu begins with these
GROUPS = ("basics", "tasks", "domains", "alignment", "tuners")


class Preset(BaseModel):
    """A named spec in YAML with words around it; `spec` holds only what differs from the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: Literal["basics", "tasks", "domains", "alignment", "tuners"] = "tasks"
    title: str
    title_zh: str
    summary: str
    summary_zh: str
    spec: dict[str, Any]

    def values(self, dataset: dict[str, str] | None = None) -> dict[str, Any]:
        """All options with this preset's values, as plain data for a form or for `build_spec`."""
        spec = build_spec({**self.spec, "dataset": dataset or PLACEHOLDER_DATASET})
        return spec.model_dump()

    def about(self) -> dict[str, str]:
        """What it is for, in both languages."""
        return {"en": self.summary, "zh": self.summary_zh}


def read_presets(folder: Path = FOLDER) -> dict[str, Preset]:
    """Every preset by the name of its file: group by group, lora, qlora, full, dpo first, then by title.

    Raises UserError naming the file when one cannot be used.
    """
    presets = {file.stem: read_preset(file) for file in folder.rglob("*.yaml")}
    order = sorted(
        presets, key=lambda name: (GROUPS.index(presets[name].group), _index(FIRST, name), presets[name].title)
    )
    return {name: presets[name] for name in order}


def read_preset(file: Path) -> Preset:
    """One preset. Raises UserError when the file is not a preset."""
    try:
        state = file.stat()
    except OSError as error:
        raise UserError(f"The preset {file.name} cannot be read: {error.strerror}.", "Check the file.") from None
    return _read_preset(file, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=256)  # the page asks for all of them at every change of its form
def _read_preset(file: Path, state: tuple[int, int]) -> Preset:
    """The preset in a file as it is in this `state`: when and how large it was written."""
    try:
        preset = Preset(**yaml.safe_load(file.read_text(encoding="utf-8")))
        preset.values()
    except (TypeError, ValidationError, yaml.YAMLError, UserError) as error:
        raise UserError(f"The preset {file.name} cannot be used: {error}", "Correct or delete the file.") from None
    return preset


def find_preset(name: str) -> Preset:
    """A preset by its name, or the one in a YAML file of that path. Raises UserError when there is none."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UserError(f"There is no file {name}.", "Check the path.")
        return read_preset(Path(name))
    presets = read_presets()
    if name not in presets:
        raise UserError(f"There is no preset {name!r}.", f"Choose one of: {', '.join(presets)}.")
    return presets[name]


def preset_spec(name: str, dataset: dict[str, str], settings: dict[str, str]) -> TrainSpec:
    """The spec of a preset with some options changed, as `--set key=value` gives them. Raises UserError.

    `name` may be the path of a YAML file.
    """
    values = find_preset(name).values(dataset)
    for key, text in settings.items():
        set_option(values, key, text if key in WORD_FOR_WORD else parse_value(text))
    return build_spec(values)


def parse_value(text: str) -> Any:
    """A value as YAML reads it, so that 8, true and all-linear mean what they look like; 2e-4 is a number too."""
    if SCIENTIFIC.fullmatch(text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _index(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else len(names)
