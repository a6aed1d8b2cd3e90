"""Words in English and Simplified Chinese: Gradio's own translation for labels, ours for widgets and toasts."""

from collections.abc import Iterator, Mapping
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Literal, get_args

import gradio as gr
import yaml
from gradio.i18n import I18nData
from pydantic.fields import FieldInfo

from studio.data.audit.words import WORDS as FINDING_WORDS
from studio.data.formats import FORMATS
from studio.jobs.presets import read_presets
from studio.jobs.spec import option_fields
from studio.methods.merging import MERGE_METHODS
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
COOKIE = "studio_language"
FOLDER = Path(__file__).parent / "locales"


@cache
def words(language: Language) -> dict[str, str]:
    """Every word of one language; English of options, formats and findings comes from where they are made."""
    table: dict[str, str] = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    for name, preset in read_presets().items():
        table[f"preset.{name}"] = preset.title if language == "en" else preset.title_zh
        table[f"preset_choice.{name}"] = f"{table[f'preset_group.{preset.group}']} · {table[f'preset.{name}']}"
    if language == "en":
        table |= {f"objective.{name}": one.title for name, one in OBJECTIVES.items()}
        table |= {f"tuner.{name}": one.title for name, one in TUNERS.items()}
        table |= {f"format.{name}": one.title for name, one in FORMATS.items()}
        table |= dict(_merge_words())
        for code, (what, why) in FINDING_WORDS.items():
            table |= {f"audit.{code}.what": what, f"audit.{code}.why": why}
        for key, field in all_fields():
            table.setdefault(f"field.{key}.title", field.title or key)
            table.setdefault(f"field.{key}.help", field.description or "")
        table |= {help_key(key, method): text for key, method, text in _own_help()}
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


def _merge_words() -> Iterator[tuple[str, str]]:
    """(key, word) of the methods of merging and their options; an option that several have means the same."""
    for name, method in MERGE_METHODS.items():
        yield f"merge.{name}", method.title
        yield f"merge.{name}.help", method.summary
        for key, field in method.options.model_fields.items():
            if key != "name":
                yield f"field.merge.{key}.title", field.title or key
                yield f"field.merge.{key}.help", field.description or ""


def help_key(key: str, method: str) -> str:
    """The word for the help of a method's option that means something else with other methods."""
    return f"field.{key}@{method}.help"


def _own_help() -> Iterator[tuple[str, str, str]]:
    """(key, method, help) of options whose help is not that of the first method with such an option."""
    first = {key: field.description for key, field in all_fields()}
    seen = set()
    for objective in OBJECTIVES:
        for tuner in TUNERS:
            for key, field in option_fields(objective, tuner):
                method = {"objective": objective, "tuner": tuner}.get(key.partition(".")[0], "")
                if field.description and field.description != first[key] and (key, method) not in seen:
                    seen.add((key, method))
                    yield key, method, field.description


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
