"""What the page's parts hold ↔ a comparison: the values of all controls in, their updates out. No events in here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from studio.base_models import STARTER
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.api_models import remote_models
from studio.playground.conversations import MOST_COLUMNS, Column, Comparison, Conversation, Drawn, read_comparison
from studio.playground.speakers import Speaker, speakers
from studio.ui.i18n import say
from studio.ui.panes import Turn, as_text, folded

DRAWN = tuple(Drawn.model_fields)  # the order of the controls
Choices = list[tuple[str, str]]
TOLD_APART_BY = 4  # letters of an id


@dataclass
class PageState:
    """What the page keeps between events. `titles`: choice → what the menus call it; `busy`: columns that answer."""

    comparison: Comparison
    titles: dict[str, str] = field(default_factory=dict)
    busy: list[int] = field(default_factory=list)

    @staticmethod
    def of(value: Any) -> "PageState":
        """From the value of the page's widget. Raises UserError."""
        given = value if isinstance(value, dict) else {}
        comparison, titles, busy = read_comparison(given.get("comparison")), given.get("titles"), given.get("busy")
        return PageState(
            comparison,
            {str(key): str(title) for key, title in titles.items()} if isinstance(titles, dict) else {},
            [one for one in busy if one in range(comparison.shown)] if isinstance(busy, list) else [],
        )

    def told(self) -> dict[str, Any]:
        """The value of the page's widget."""
        return {"comparison": self.comparison.model_dump(), "titles": self.titles, "busy": self.busy}


@dataclass(frozen=True)
class Values:
    """The controls' values: the widget's, the count, whether columns have settings of their own, the settings."""

    state: Any
    count: Any
    separate: Any
    shared: Sequence[Any]
    choices: Sequence[Any]
    own: Sequence[Sequence[Any]]

    @staticmethod
    def of(values: Sequence[Any]) -> "Values":
        """From the events' inputs: state, count, separate, *shared, *choices, *settings of each column."""
        state, count, separate, *rest = values
        shared, rest = rest[: len(DRAWN)], rest[len(DRAWN) :]
        choices, rest = rest[:MOST_COLUMNS], rest[MOST_COLUMNS:]
        own = [rest[at : at + len(DRAWN)] for at in range(0, len(rest), len(DRAWN))]
        return Values(state, count, separate, shared, choices, own)

    def comparison(self) -> Comparison:
        """The conversations of the widget under the controls' choices and settings. Raises UserError."""
        known = PageState.of(self.state).comparison
        shown = count_of(self.count)
        columns = [
            Column(
                choice=str(self.choices[number] or "base:starter")[:1000],
                drawn=drawn_of(self.own[number] if self.separate else self.shared),
                conversation=known.columns[number].conversation if number < len(known.columns) else Conversation(),
            )
            for number in range(MOST_COLUMNS)
        ]
        return Comparison(id=known.id, name=known.name, separate=bool(self.separate), shown=shown, columns=columns)


def count_of(value: Any) -> int:
    """How many columns. Raises UserError."""
    if not isinstance(value, int) or not 1 <= value <= MOST_COLUMNS:
        raise UserError("That many columns are not possible.", f"Choose 1 to {MOST_COLUMNS}.")
    return value


def drawn_of(values: Sequence[Any]) -> Drawn:
    """How to answer, from the controls' values. Raises UserError."""
    given = dict(zip(DRAWN, values, strict=True))
    try:
        return Drawn(**{**given, "system": given["system"] or "", "max_tokens": int(given["max_tokens"])})
    except (ValueError, TypeError):
        raise UserError(
            "These settings are not possible.", "temperature 0 to 2, top_p above 0 up to 1, max_tokens 1 to 8192."
        ) from None


def messages_shown(conversation: Conversation, title: str) -> list[Turn] | None:
    """A conversation for a chat view, text made harmless, thoughts folded; None (the placeholder) when empty."""
    turns = [{"role": turn.role, "content": as_text(turn.content or "…")} for turn in conversation.shown()]
    return folded(turns, title) or None


def menu(studio: Studio, request: gr.Request | None, *, checkpoints: bool = False) -> Choices:
    """(label, choice) of everything that can answer; a job's checkpoints are indented under it.

    Jobs may have the same name: what would look the same ends with the last letters of the job's id.
    """
    here = [(_label(one, request), one.choice) for one in speakers(studio, checkpoints=checkpoints)]
    here += [(f"{one.name} · {say('play_remote', request)}", one.id) for one in remote_models(studio)]
    seen = Counter(label for label, _ in here)
    return [
        (label if seen[label] == 1 else f"{label} · {choice.partition('@')[0][-TOLD_APART_BY:]}", choice)
        for label, choice in here
    ]


def _label(one: Speaker, request: gr.Request | None) -> str:
    if one.kind == "base":
        return f"{STARTER if one.name == 'starter' else one.name} · {say('play_base', request)}"
    if one.kind == "checkpoint":
        return f"↳ {one.name} · {say('play_step', request)} {one.detail}"
    if one.kind == "imported":
        return f"{one.name} · {say('play_imported', request)}"
    return f"{one.name} · {one.detail}"


def chosen(choices: Choices, shown: Sequence[str | None], wanted: str | None) -> list[str]:
    """Who answers in each column: who did before, where possible; `wanted` in the first, and there alone.

    A new column takes the first that no column before it has: with the same one they would compare nothing.
    """
    ids = [value for _, value in choices]
    found: list[str] = []
    for number in range(MOST_COLUMNS):
        before = shown[number] if number < len(shown) else None
        first = (wanted, before) if number == 0 else (before if before != wanted else None,)
        new = [one for one in ids if one not in found]
        found.append(next(one for one in (*first, *new, ids[0]) if one in ids))
    return found


def with_unknown(choices: Choices, values: Sequence[str], gone: str) -> Choices:
    """The choices and, behind them, those that a saved comparison names and that are not there any more."""
    ids = {value for _, value in choices}
    missing = dict.fromkeys(value for value in values if value not in ids)
    return choices + [(f"{gone} · {value}", value) for value in missing]
