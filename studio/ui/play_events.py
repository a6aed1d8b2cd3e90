"""What happens in the chat: ask, ask again, edit, branch, score. Plain functions of values."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.client import ChatClient, chat_target
from studio.playground.conversations import MOST_COLUMNS, NONE, Column, Conversation, Facts, facts_of
from studio.playground.servers import wait_for_endpoint
from studio.ui.i18n import say
from studio.ui.panes import Pane, as_text, converse
from studio.ui.play_page import PageState, Values, menu, messages_shown, notes_told

Updates = tuple[Any, ...]
"""(prompt, state, *one a column)."""


class ChatHandlers:
    """What happens on the chat's events. Inputs are those of `Values.of`; the streams' outputs are `Updates`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    # ---- answers ----

    def ask(self, request: gr.Request, prompt: str | None, *values: Any) -> Iterator[Updates]:
        """A question to every visible column → the conversations, again and again while the answers grow."""
        if not prompt or not prompt.strip():
            raise UserError("The message is empty.", "Write something first.")
        page = self._page(values, request)
        for column in page.comparison.visible:
            chat_target(self._studio.store, self._studio.workspace, column.choice)  # before any begins to answer
        for column in page.comparison.visible:
            column.conversation.pass_over()
            column.conversation.add("user", prompt)
        yield from self._answer(page, list(range(page.comparison.shown)), request, fresh=True)

    def again(self, event: gr.EventData, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """The last question of one column once more: the new answer becomes a branch."""
        page = self._page(values, request)
        number = _number(event, "column", page.comparison.shown)
        conversation = page.comparison.columns[number].conversation
        question = conversation.question()
        if question is None:
            raise UserError("There is no question yet.", "Ask something first.")
        conversation.leaf = question
        yield from self._answer(page, [number], request)

    def editor(self, number: int) -> Callable[..., Iterator[Updates]]:
        """The handler for a message that was edited in one column."""

        def edited(event: gr.EditData, request: gr.Request, *values: Any) -> Iterator[Updates]:
            yield from self.edit(number, event.index, event.value, request, values)

        return edited

    def edit(
        self, number: int, index: Any, value: Any, request: gr.Request, values: Sequence[Any]
    ) -> Iterator[Updates]:
        """A question in other words, a branch of its own, in every column that has the same question at that place."""
        page = self._page(values, request)
        text = value if isinstance(value, str) else ""
        if not text.strip():
            raise UserError("The message is empty.", "Write something first.")
        place = self._place(page.comparison.columns[number], index)
        old = page.comparison.columns[number].conversation.shown()[place]
        asked = []
        for other, column in enumerate(page.comparison.visible):
            path = column.conversation.path()
            same = len(path) > place and column.conversation.turns[path[place]].content == old.content
            if other == number or same:
                parent = column.conversation.turns[path[place]].parent
                column.conversation.add("user", text, parent=parent)
                asked.append(other)
        yield from self._answer(page, asked, request)

    def _place(self, column: Column, index: Any) -> int:
        """The place in the path of the `index`-th message on the page, which must be a question. Raises UserError."""
        messages = messages_shown(column.conversation, "") or []
        if isinstance(index, int) and 0 <= index < len(messages) and messages[index]["role"] == "user":
            questions = sum(message["role"] == "user" for message in messages[:index])
            places = [place for place, turn in enumerate(column.conversation.shown()) if turn.role == "user"]
            return places[questions]
        raise UserError("Only questions can be edited.", "Choose one of yours.")

    def _answer(
        self, page: PageState, asked: list[int], request: gr.Request, *, fresh: bool = False
    ) -> Iterator[Updates]:
        """Let columns, whose conversations end with a question, answer it; a `fresh` one leaves the prompt."""
        columns = page.comparison.columns
        loading, thinking = say("play_loading", request), say("play_thinking", request)
        panes = {number: self._pane(columns[number], loading) for number in asked}
        for number in asked:
            columns[number].conversation.begin_answer(columns[number].choice)
        prompt: Any = "" if fresh else gr.skip()
        page.fresh = fresh
        for _ in converse(list(panes.values())):
            for number in page.busy or asked:
                _take_in(columns[number], panes[number])
            page.busy = [number for number, pane in panes.items() if not pane.done]
            page.notes = notes_told(page.comparison, request)
            page.fresh = fresh and (bool(page.busy) or _is_unanswered(page))
            yield prompt, page.told(), *self._chats(page, panes, thinking)
            prompt = gr.skip()

    def _pane(self, column: Column, loading: str) -> Pane:
        *before, question = column.conversation.shown()
        history = [{"role": turn.role, "content": as_text(turn.content)} for turn in before]
        drawn = column.drawn
        return Pane(
            self._studio,
            column.choice,
            history,
            question.content,
            system=drawn.system,
            settings=drawn.settings,
            loading=loading,
        )

    def _chats(self, page: PageState, panes: dict[int, Pane], thinking: str) -> list[Any]:
        """One update a column: the conversation, with a word in the place of an answer that has not begun."""
        updates: list[Any] = [gr.skip()] * len(page.comparison.columns)
        for number, pane in panes.items():
            updates[number] = messages_shown(page.comparison.columns[number].conversation, thinking)
            if not pane.text and not pane.done:
                updates[number][-1] = {"role": "assistant", "content": as_text(pane.answer)}
        return updates

    # ---- what does not stream ----

    def ended(self, prompt: str | None, state: Any, request: gr.Request) -> Updates:
        """No more comes → the page; answers that were stopped say so, a question without any goes back to the prompt.

        `prompt`: what has been written there meanwhile; it stays, behind the question.
        """
        page = PageState.of(state)
        if not page.busy and not page.fresh:
            return ready(), *[gr.skip()] * (1 + MOST_COLUMNS)
        columns, changed = page.comparison.columns, list(page.busy)
        for number in page.busy:
            columns[number].conversation.end_answer(Facts(choice=columns[number].choice, finish="stopped"))
        button = ready()
        if page.fresh and _is_unanswered(page):
            changed = list(range(page.comparison.shown))
            given_back = [column.conversation.withdraw() for column in page.comparison.visible]
            button["value"] = "\n\n".join(text for text in (given_back[0], (prompt or "").strip()) if text)
        updates: list[Any] = [gr.skip()] * MOST_COLUMNS
        for number in changed:
            updates[number] = messages_shown(columns[number].conversation, say("play_thinking", request))
        page.busy, page.fresh = [], False
        return button, page.told(), *updates

    def branch(self, event: gr.EventData, request: gr.Request, *values: Any) -> Updates:
        """Another of the turns that were tried in a place → (state, *one a column)."""
        page = self._page(values, request)
        number = _number(event, "column", page.comparison.shown)
        conversation = page.comparison.columns[number].conversation
        conversation.choose(_number(event, "turn", len(conversation.turns)))
        updates: list[Any] = [gr.skip()] * len(page.comparison.columns)
        updates[number] = messages_shown(conversation, say("play_thinking", request))
        return page.told(), *updates

    def clearer(self, number: int) -> Callable[[Any], Any]:
        """The handler for a column that was emptied → the state without what was said in it."""

        def cleared(state: Any) -> Any:
            page = PageState.of(state)
            if number < len(page.comparison.columns):
                page.comparison.columns[number].conversation = Conversation()
            return page.told()

        return cleared

    def score(self, request: gr.Request, *values: Any) -> Iterator[Any]:
        """The log-probability of each column's answer under each column's model → the state, as they come."""
        page = self._page(values, request)
        columns = [column for column in page.comparison.visible if column.conversation.answer() is not None]
        if not columns:
            raise UserError("There is no answer yet.", "Ask something first.")
        scored = False
        for choice in dict.fromkeys(column.choice for column in page.comparison.visible):
            target = chat_target(self._studio.store, self._studio.workspace, choice)
            client = ChatClient(wait_for_endpoint(self._studio, target.base_model, threading.Event()))
            for column in columns:
                turn = column.conversation.turns[column.conversation.leaf]
                turn.facts = turn.facts or Facts(choice=column.choice)
                asked = column.conversation.messages(column.drawn.system)[:-1]
                told = client.score(target.model, asked, turn.content)
                if told.logprob is not None and told.tokens is not None:
                    turn.facts.scores[choice] = (told.logprob, told.tokens)
                    scored = True
                yield page.told()
        if not scored:
            raise UserError("The model's server cannot score answers.", "Start the studio anew.")

    def _page(self, values: Sequence[Any], request: gr.Request | None) -> PageState:
        given = Values.of(values)
        titles = {value: label for label, value in menu(self._studio, request, checkpoints=True)}
        comparison = given.comparison()
        known = {one.choice: titles.get(one.choice, one.choice) for one in comparison.columns}
        return PageState(comparison, known, notes=notes_told(comparison, request))


def _is_unanswered(page: PageState) -> bool:
    """Whether no column has an answer to its last question."""
    return all(column.conversation.answer() is None for column in page.comparison.visible)


def _take_in(column: Column, pane: Pane) -> None:
    """What came of an answer since the last time."""
    answer = column.conversation.answer()
    if answer is not None:
        answer.content = pane.text
        if pane.done:
            column.conversation.end_answer(facts_of(column.choice, pane.last), keep=not pane.failed)


def ready() -> dict[str, Any]:
    """The prompt's button sends again."""
    update: dict[str, Any] = gr.update(submit_btn=True, stop_btn=False)
    return update


def busy() -> dict[str, Any]:
    """The prompt's button stops."""
    update: dict[str, Any] = gr.update(submit_btn=False, stop_btn=True)
    return update


def _number(event: gr.EventData, key: str, below: int) -> int:
    """A number that the page sent with an event. Raises UserError."""
    data = event._data if isinstance(event._data, dict) else {}
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not NONE < value < below:
        raise UserError("There is no such turn.", "Look at the conversation again.")
    return value
