"""What the tabs' handlers do with values, as plain functions."""

import json
import logging
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from studio import ui
from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.methods.objectives import OBJECTIVES
from studio.playground.client import Chunk, Settings
from studio.ui import feedback, panes
from studio.ui.data_room import DataRoom
from studio.ui.feedback import guarded
from studio.ui.panes import Pane, as_text, converse, from_text, text_of
from studio.ui.tabs.data import DataHandlers
from tests.conftest import instruction_rows, write_rows

FILE_TRAP = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


def request(**query):
    """What Gradio says about the page that asks."""
    return SimpleNamespace(query_params=query, headers={})


@pytest.fixture
def toasts(monkeypatch):
    """The toasts that were shown."""
    shown = []
    monkeypatch.setattr(feedback.gr, "Warning", lambda text, **options: shown.append(text))
    return shown


# --- Data ---


@pytest.fixture
def room(studio):
    return DataRoom(studio)


def uploaded(room, *paths):
    """What the event of the drop zone gives, once the work that it begins is done."""
    shown, _ = DataHandlers(room).upload([str(path) for path in paths])
    return room.desk.wait(shown["task"], 60)["result"]


def test_an_uploaded_file_becomes_a_data_set(studio, room):
    file = write_rows(studio.workspace.uploads / "rows.jsonl", instruction_rows(5))
    assert uploaded(room, file)["record"]["rows"] == 5
    (record,) = studio.datasets()
    assert (record.rows, record.source_name) == (5, "rows.jsonl")


def test_a_file_that_cannot_be_used_leaves_nothing_behind(studio, room):
    file = studio.workspace.uploads / "rows.jsonl"
    file.write_text('{"instruction": "a", "output": "b"}\n{broken\n')
    assert uploaded(room, file)["errors"]
    assert studio.datasets() == []
    assert list(studio.workspace.datasets.iterdir()) == []


def test_only_a_file_that_was_uploaded_here_is_read(studio, room, tmp_path):
    outside = write_rows(tmp_path / "secret.jsonl", instruction_rows(2))
    link = studio.workspace.uploads / "link.jsonl"
    link.symlink_to(outside)
    uploads = studio.workspace.uploads
    for path in (outside, link, uploads / ".." / "catalog.sqlite", uploads, uploads / "absent.jsonl", "/etc/passwd"):
        shown, _ = DataHandlers(room).upload([str(path)])
        assert "not uploaded here" in shown["refused"]["message"]
    assert studio.datasets() == []


def test_every_cell_of_the_rows_is_text_whatever_the_file_holds(studio, room):
    rows = [{"text": "a", "trap": FILE_TRAP, "c": 1.50}, {"text": "<b>x</b>", "d": [FILE_TRAP], "e": True}]
    record = uploaded(room, write_rows(studio.workspace.uploads / "rows.jsonl", rows))["record"]
    page = room.library.page(record["id"])
    assert all(isinstance(cell, str) for row in page["rows"] for cell in row["cells"].values())
    assert json.loads(page["rows"][0]["cells"]["trap"]) == FILE_TRAP
    assert page["rows"][1]["cells"]["text"] == "<b>x</b>"


# --- Playground ---


class FakeClient:
    """Answers like a server: its answer in pieces, one of them an error when told so."""

    pieces: tuple = ()
    asked: list = []

    def __init__(self, endpoint):
        assert isinstance(endpoint, Endpoint)

    def answer(self, model, messages, settings):
        FakeClient.asked.append((model, messages, settings))
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield Chunk(piece)


@pytest.fixture
def chatting(studio, monkeypatch):
    """A studio whose servers answer at once, and the client that answers."""
    monkeypatch.setattr(FakeClient, "asked", [])
    monkeypatch.setattr(FakeClient, "pieces", ("The ", "lamp ", "is lit."))
    monkeypatch.setattr(panes, "ChatClient", FakeClient)
    monkeypatch.setattr(panes, "YIELD_EVERY", 0.01)
    servers = SimpleNamespace(want=lambda base_model: Endpoint("http://127.0.0.1:1", "word"))
    return SimpleNamespace(store=studio.store, workspace=studio.workspace, servers=servers)


def pane(studio, choice="base:starter", history=(), prompt="Who?", system=""):
    return Pane(studio, choice, list(history), prompt, system=system, settings=Settings(), loading="Loading …")


def test_an_answer_grows_and_stands_whole_at_the_end(chatting):
    shown = list(converse([pane(chatting, system="Be brief.")]))
    assert shown[-1] == [[{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The lamp is lit."}]]
    ((model, messages, _),) = FakeClient.asked
    assert model == "base"
    assert messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


def test_two_panes_answer_the_same_question_beside_each_other(chatting):
    *_, (left, right) = converse([pane(chatting), pane(chatting, choice="base:other/model")])
    assert left[-1] == right[-1] == {"role": "assistant", "content": "The lamp is lit."}
    assert len(FakeClient.asked) == 2


def test_a_blank_system_prompt_is_not_sent(chatting):
    list(converse([pane(chatting, system="  \n")]))
    assert [message["role"] for message in FakeClient.asked[0][1]] == ["user"]


def test_an_error_of_the_server_reaches_the_reader_as_it_is(chatting, monkeypatch):
    monkeypatch.setattr(FakeClient, "pieces", ("Half", UserError("Too long.", "Shorten it.")))
    with pytest.raises(UserError, match="Too long"):
        list(converse([pane(chatting)]))


def test_who_stops_reading_stops_the_server(chatting, monkeypatch):
    closed = threading.Event()

    def endless(self, model, messages, settings):
        try:
            while True:
                yield Chunk("x")
                time.sleep(0.01)
        finally:
            closed.set()

    monkeypatch.setattr(FakeClient, "answer", endless)
    reading = converse([pane(chatting)])
    while next(reading)[0][-1]["content"] == "Loading …":
        assert not closed.is_set()
    reading.close()
    assert closed.wait(5)


def test_an_earlier_answer_comes_back_as_the_model_wrote_it(chatting):
    history = [
        {"role": "user", "content": [{"type": "text", "text": "a &lt; b?"}], "metadata": None, "options": None},
        {"role": "assistant", "content": [{"type": "text", "text": "`x<y` and &lt;i>"}]},
    ]
    list(converse([pane(chatting, history=history)]))
    assert FakeClient.asked[0][1][:2] == [
        {"role": "user", "content": "a < b?"},
        {"role": "assistant", "content": "`x<y` and <i>"},
    ]


def test_files_in_a_history_are_ignored():
    content = [{"type": "file", "file": FILE_TRAP}, {"type": "text", "text": "hello"}, FILE_TRAP, "stray"]
    assert text_of({"role": "user", "content": content}) == "hello"
    assert text_of({"role": "user", "content": [{"type": "file", "file": FILE_TRAP}]}) == ""


MARKUP = st.text(alphabet="ab<>&;lt`\n \\/=\"'amp#", max_size=60)


@given(st.one_of(MARKUP, st.text(max_size=60)))
def test_text_made_harmless_comes_back_unchanged(text):
    assert from_text(as_text(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "<div style='position:fixed;inset:0'>x</div>",
        "<img src=x onerror=alert(1)>",
        "a `code` <b>x</b> `more` <i>",
        "```\n<kept>\n```\n<form action=evil><input>",
        "<svg/onload=alert(1)>",
        "<!-- -->",
        "&lt;b>",
        "<scr`ipt>",
    ],
)
def test_no_tag_outside_code_reaches_the_page(text):
    tokens = MarkdownIt("commonmark").parse(as_text(text))
    kinds = {inner.type for token in tokens for inner in (token, *(token.children or []))}
    assert not {kind for kind in kinds if kind.startswith("html")}


def test_code_is_shown_as_it_was_written():
    assert as_text("`a<b && c`\n```html\n<b>&amp;</b>\n```") == "`a<b && c`\n```html\n<b>&amp;</b>\n```"


def test_the_page_knows_which_objectives_make_no_model_that_speaks():
    script = (Path(ui.__file__).parent / "assets" / "widgets.js").read_text()
    told = json.loads(re.search(r"SPEECHLESS = (\[.*?\])", script)[1])
    assert told == [name for name, one in OBJECTIVES.items() if one.task_type != "CAUSAL_LM"]


def test_a_job_without_an_adapter_cannot_be_talked_to(chatting, new_job):
    with pytest.raises(UserError, match="no adapter yet"):
        pane(chatting, choice=new_job())


@pytest.mark.parametrize("choice", ["../../etc", "no-such-job", "/etc/passwd"])
def test_a_choice_that_is_none_is_a_sentence(chatting, choice):
    with pytest.raises(UserError):
        pane(chatting, choice=choice)


# --- errors ---


def test_a_toast_never_holds_markup(toasts):
    @guarded
    def handler():
        raise UserError("<img src=x onerror=alert(1)>", "<b>hint</b>")

    handler()
    assert toasts == ["&lt;img src=x onerror=alert(1)&gt;<br>&lt;b&gt;hint&lt;/b&gt;"]


def test_a_bug_in_a_handler_is_an_id_and_changes_nothing_on_the_page(toasts, caplog):
    @guarded
    def handler():
        raise KeyError("/secret/place")

    with caplog.at_level(logging.ERROR, logger="studio.ui"):
        assert handler() == gr.skip()
    assert "secret" not in toasts[0]
    error_id = toasts[0].partition("(error ")[2][:8]
    assert error_id in caplog.text
    assert "/secret/place" in caplog.text


def test_an_answer_that_breaks_off_keeps_what_was_shown(toasts):
    @guarded
    def handler():
        yield "half"
        raise UserError("Gone.")

    assert list(handler()) == ["half", gr.skip()]
    assert toasts == ["Gone.<br>"]


@pytest.mark.parametrize(
    "text",
    [
        "\\`<img>\\`",
        "so ```<img src=x>",
        "~~~\n```\n~~~\n<img>\n```",
        "````\n```\n````\n<img>\n```",
        "``a`<img>`b``",
        "```\ncode\n```\n<img>",
        "`a`<img>`b`",
    ],
)
def test_no_spelling_of_code_lets_a_tag_through(text):
    tokens = MarkdownIt("commonmark").parse(as_text(text))
    kinds = [one.type for token in tokens for one in [token, *(token.children or [])]]
    assert not [kind for kind in kinds if kind.startswith("html")]
    assert from_text(as_text(text)) == text
