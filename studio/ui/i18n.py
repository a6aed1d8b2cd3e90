"""Words in English and Simplified Chinese: Gradio's own translation for labels, ours for widgets and toasts."""

from collections.abc import Iterator, Mapping
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Literal

import gradio as gr
import yaml
from gradio.i18n import I18nData
from pydantic.fields import FieldInfo

from studio.jobs.presets import read_presets
from studio.jobs.spec import option_fields
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS

Language = Literal["en", "zh"]
COOKIE = "studio_language"
FOLDER = Path(__file__).parent / "locales"


@cache
def words(language: Language) -> dict[str, str]:
    """Every word of one language; an option's English title and help come from its field."""
    table: dict[str, str] = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    for name, preset in read_presets().items():
        table[f"preset.{name}"] = preset.title if language == "en" else preset.title_zh
    if language == "en":
        table |= {f"objective.{name}": one.title for name, one in OBJECTIVES.items()}
        table |= {f"tuner.{name}": one.title for name, one in TUNERS.items()}
        for key, field in all_fields():
            table.setdefault(f"field.{key}.title", field.title or key)
            table.setdefault(f"field.{key}.help", field.description or "")
    return table


def all_fields() -> Iterator[tuple[str, FieldInfo]]:
    """(key, field) of every option of every objective and tuner; a key that two share comes once."""
    seen = set()
    for objective in OBJECTIVES:
        for tuner in TUNERS:
            for key, field in option_fields(objective, tuner):
                if key not in seen:
                    seen.add(key)
                    yield key, field


def translation() -> gr.I18n:
    """The table that Gradio's page translates labels with."""
    chinese = words("zh")
    return gr.I18n(**{"en": words("en"), "zh-CN": chinese, "zh": chinese})


def word(key: str) -> I18nData:
    """A label that the page translates."""
    if key not in words("en"):
        raise KeyError(key)
    return I18nData(key)


def language_of(headers: Mapping[str, str]) -> Language:
    """The language of a request: what the user chose, else what the browser prefers."""
    try:
        chosen = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        chosen = None
    if chosen is not None and chosen.value in ("en", "zh"):
        return "zh" if chosen.value == "zh" else "en"
    preferred = headers.get("accept-language", "").partition(",")[0].lower()
    return "zh" if preferred.startswith("zh") else "en"


def say(key: str, request: gr.Request | None) -> str:
    """A word in the language of a request."""
    headers: Any = request.headers if request is not None else {}
    return words(language_of(headers))[key]
