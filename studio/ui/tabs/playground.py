"""Playground: chat with the base and up to six adapters beside each other; or ask them a whole list of prompts."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.jobs.studio import Studio
from studio.playground.batch import BatchDesk
from studio.playground.conversations import MOST_COLUMNS, Comparison
from studio.ui.feedback import guarded
from studio.ui.i18n import word
from studio.ui.play_events import ChatHandlers, busy, ready
from studio.ui.play_page import PageState, count_of
from studio.ui.play_page import menu as speakers
from studio.ui.play_prompts import PromptHandlers
from studio.ui.play_saved import SavedHandlers
from studio.ui.play_weights import WeightsHandlers
from studio.ui.tabs.play_columns import (
    DrawnControls,
    PlayBar,
    PlayColumn,
    SavedControls,
    build_bar,
    build_columns,
    build_drawn,
    build_prompt,
    build_saved,
    build_weights,
)
from studio.ui.tabs.play_prompts import PromptList, build_prompts
from studio.ui.widgets import widget

QUIET: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}


@dataclass(frozen=True)
class PlaygroundTab:
    """The parts of the tab that events touch. `sections`: the tab's own tabs."""

    sections: gr.Tabs
    bar: PlayBar
    columns: list[PlayColumn]
    prompt: gr.Textbox
    clear: gr.Button
    score: gr.Button
    shared: DrawnControls
    shared_frame: gr.Accordion
    weights: gr.Dropdown
    saved: SavedControls
    state: gr.HTML
    prompts: PromptList

    @property
    def chats(self) -> list[gr.Chatbot]:
        return [column.chat for column in self.columns]

    @property
    def choices(self) -> list[gr.Dropdown]:
        return [column.choice for column in self.columns]

    @property
    def controls(self) -> list[Any]:
        """What `play_page.Values` is made of, but for the state."""
        own = [control for column in self.columns for control in column.controls.all]
        return [self.bar.count, self.bar.separate, *self.shared.all, *self.choices, *own]

    @property
    def everything(self) -> list[Any]:
        """What opening a saved comparison fills."""
        return [self.state, *self.controls, self.saved.name, self.saved.saved, *self.chats]


def build(studio: Studio) -> PlaygroundTab:
    """Layout."""
    with gr.Tabs(elem_id="play-sections", selected="chat") as sections:
        with gr.Tab(word("play_section_chat"), id="chat", elem_id="section-chat"):
            bar = build_bar()
            columns = build_columns()
            prompt = build_prompt()
            widget("promptMeter", elem_id="prompt-meter")
            with gr.Row(elem_id="play-actions"):
                clear = gr.Button(word("play_clear"), size="sm", scale=0, min_width=150, elem_id="clear-chat")
                score = gr.Button(word("play_score"), size="sm", scale=0, min_width=150, elem_id="score-answers")
            with gr.Accordion(word("play_settings"), open=False, elem_id="play-settings") as shared_frame:
                shared = build_drawn()
            weights = build_weights()
            saved = build_saved()
            state = widget("comparison", elem_id="comparison", value={}, again="again", branch="branch")
        with gr.Tab(word("play_section_prompts"), id="prompts", elem_id="section-prompts"):
            prompts = build_prompts()
    return PlaygroundTab(
        sections, bar, columns, prompt, clear, score, shared, shared_frame, weights, saved, state, prompts
    )


def wire(
    studio: Studio, tab: PlaygroundTab, blocks: gr.Blocks, page: gr.Tab, dataset: gr.Dropdown, desk: BatchDesk
) -> None:
    """Events. `dataset`: the Data tab's menu, where an exported conversation is chosen."""
    _wire_layout(tab)
    _wire_answers(ChatHandlers(studio), tab)
    _wire_saved(SavedHandlers(studio), tab, blocks, page, dataset)
    _wire_weights(WeightsHandlers(studio), tab.weights, blocks, page)
    on = PromptHandlers(studio, desk)
    tab.prompts.file.upload(guarded(on.take_file), tab.prompts.file, tab.prompts.prompts, **QUIET)
    tab.prompts.run.click(guarded(on.run), [tab.prompts.prompts, tab.state, *tab.controls], tab.prompts.table, **QUIET)


def _wire_layout(tab: PlaygroundTab) -> None:
    frames = [column.frame for column in tab.columns]
    accordions = [tab.shared_frame, *(column.own for column in tab.columns)]
    tab.bar.count.change(guarded(shown_columns), tab.bar.count, frames, **AT_ONCE)
    tab.bar.separate.change(shown_settings, tab.bar.separate, accordions, **AT_ONCE)


def _wire_answers(on: ChatHandlers, tab: PlaygroundTab) -> None:
    inputs, outputs = [tab.state, *tab.controls], [tab.prompt, tab.state, *tab.chats]
    started = tab.prompt.submit(busy, None, tab.prompt, **AT_ONCE)
    answering = [started.then(guarded(on.ask), [tab.prompt, *inputs], outputs, **QUIET)]
    # The events of one trigger run one after the other, and only a first one knows what was edited.
    tab.state.again(busy, None, tab.prompt, **AT_ONCE)
    answering.append(tab.state.again(guarded(on.again), inputs, outputs, **QUIET))
    for number, chat in enumerate(tab.chats):
        chat.edit(busy, None, tab.prompt, **AT_ONCE)
        chat.clear(guarded(on.clearer(number)), tab.state, tab.state, **QUIET)
        answering.append(chat.edit(guarded(on.editor(number)), inputs, outputs, **QUIET))
    for event in answering:
        event.then(guarded(on.ended), [tab.prompt, tab.state], outputs, **AT_ONCE)  # also when it was stopped
    scoring = tab.score.click(guarded(on.score), inputs, tab.state, **{**QUIET, "show_progress": "minimal"})
    tab.state.branch(guarded(on.branch), inputs, [tab.state, *tab.chats], **QUIET)
    tab.prompt.stop(ready, None, tab.prompt, cancels=[*answering, scoring], **AT_ONCE)
    cleared = [*tab.chats, tab.state, tab.prompt, tab.saved.name]
    tab.clear.click(empty, None, cleared, cancels=[*answering, scoring], **AT_ONCE)


def _wire_saved(on: SavedHandlers, tab: PlaygroundTab, blocks: gr.Blocks, page: gr.Tab, dataset: gr.Dropdown) -> None:
    inputs, kept = [tab.state, *tab.controls], tab.saved
    blocks.load(guarded(on.land), None, tab.everything, **QUIET)
    for come in (page.select, tab.bar.checkpoints.change):
        come(guarded(on.arrive), [tab.bar.checkpoints, *tab.choices], tab.choices, **QUIET)
    kept.save.click(guarded(on.save), [kept.name, *inputs], [tab.state, kept.name, kept.saved], **QUIET)
    kept.open.click(guarded(on.open), kept.saved, tab.everything, **QUIET)
    kept.rename.click(guarded(on.rename), [kept.saved, kept.name, tab.state], [tab.state, kept.saved], **QUIET)
    kept.delete.click(guarded(on.delete), [kept.saved, tab.state], [tab.state, kept.saved], **QUIET)
    loud = {**QUIET, "show_progress": "minimal"}
    kept.export.click(guarded(on.export), [kept.name, *inputs], dataset, **loud)
    kept.export_all.click(guarded(on.export_all), None, dataset, **loud)


def _wire_weights(on: WeightsHandlers, weights: gr.Dropdown, blocks: gr.Blocks, page: gr.Tab) -> None:
    for come in (blocks.load, page.select):
        come(guarded(on.shown), None, weights, **QUIET)
    weights.input(guarded(on.choose), weights, None, **QUIET)


def shown_columns(count: Any) -> list[dict[str, Any]]:
    """How many columns → which of them are on the page."""
    return [gr.update(visible=number < count_of(count)) for number in range(MOST_COLUMNS)]


def shown_settings(separate: bool) -> list[dict[str, Any]]:
    """Whether columns have settings of their own → (the shared ones, each column's)."""
    return [gr.update(visible=not separate), *[gr.update(visible=bool(separate))] * MOST_COLUMNS]


def empty() -> list[Any]:
    """A new conversation → (*one a column, state, prompt, name)."""
    return [*[None] * MOST_COLUMNS, PageState(Comparison()).told(), ready(), ""]


__all__ = ["PlaygroundTab", "build", "speakers", "wire"]
