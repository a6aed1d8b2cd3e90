"""What the Playground's handlers do with values: ask, branch, edit, stop, score, keep, export; who is offered."""

from types import SimpleNamespace

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio.errors import UserError
from studio.jobs.events import EventWriter, Finished
from studio.playground.client import Target, chat_target
from studio.playground.conversations import MOST_COLUMNS, Conversation, Drawn
from studio.playground.feedback_data import kto_rows
from studio.playground.votes import VoteStore
from studio.ui import panes
from studio.ui.feedback import user_error_response
from studio.ui.panes import as_text, folded, thought_apart
from studio.ui.play_events import ChatHandlers
from studio.ui.play_page import chosen, menu, messages_shown
from studio.ui.play_prompts import PromptHandlers
from studio.ui.play_routes import PlayRoutes
from studio.ui.play_saved import SavedHandlers
from studio.ui.tabs.play_columns import LATEX
from studio.workspace import write_json
from tests.playground.conftest import server, talking

__all__ = ["server", "talking"]  # fixtures
pytestmark = pytest.mark.usefixtures("toasts")
DRAWN = ["", 0.7, 0.9, 64]
OTHER = "base:org/model"


def request(**query):
    """What Gradio says about the page that asks."""
    return SimpleNamespace(query_params=query, headers={})


def event(**data):
    return SimpleNamespace(_data=data)


def inputs(state=None, count=1, *, separate=False, shared=DRAWN, choices=("base:starter", OTHER), own=()):
    """What the page's controls send."""
    every = [*choices, *["base:starter"] * (MOST_COLUMNS - len(choices))]
    drawn = [*own, *[DRAWN] * (MOST_COLUMNS - len(own))]
    return [state or {}, count, separate, *shared, *every, *(value for one in drawn for value in one)]


@pytest.fixture
def on(talking, monkeypatch):
    monkeypatch.setattr(panes, "YIELD_EVERY", 0.005)
    return ChatHandlers(talking)


def ask(on, prompt, *given, **options):
    """The last thing that the page is told."""
    *_, (_, state, *chats) = on.ask(request(), prompt, *inputs(*given, **options))
    return state, chats


def texts(state, column=0):
    conversation = state["comparison"]["columns"][column]["conversation"]
    found, at = [], conversation["leaf"]
    while at >= 0:
        found.append(conversation["turns"][at]["content"])
        at = conversation["turns"][at]["parent"]
    return found[::-1]


def test_one_question_goes_to_every_column_and_the_conversation_goes_on(on, server):
    server.answer = lambda model, messages: [f"to {messages[-1]['content']}"]
    state, chats = ask(on, "One?", None, 3, choices=("base:starter", OTHER, "base:a/b"))
    assert [chat[-1]["content"] for chat in chats[:3]] == ["to One?"] * 3
    assert all(chat == gr.skip() for chat in chats[3:])
    assert state["busy"] == []
    state, chats = ask(on, "Two?", state, 3)
    assert texts(state, 2) == ["One?", "to One?", "Two?", "to Two?"]
    assert [message["role"] for message in server.bodies()[-1]["messages"]] == ["user", "assistant", "user"]
    facts = state["comparison"]["columns"][1]["conversation"]["turns"][3]["facts"]
    assert (facts["choice"], facts["tokens"], facts["context"], facts["finish"]) == (OTHER, 1, 2048, "stop")


def test_what_the_server_notes_is_told_in_the_readers_language(on, server):
    server.notes = [note := "Adapters of the kind IA3 take their own turn beside others."]
    state, _ = ask(on, "Hi")
    assert state["notes"] == {note: note}
    assert state["comparison"]["columns"][0]["conversation"]["turns"][1]["facts"]["notes"] == [note]
    chinese = SimpleNamespace(query_params={}, headers={"cookie": "studio_language=zh"})
    *_, (_, state, *_) = on.ask(chinese, "Hi", *inputs(state))
    assert state["notes"][note].startswith("IA3 类适配器")


def test_each_column_may_have_settings_of_its_own(on, server):
    own = [["Be brief.", 0, 1, 16], ["", 1.5, 0.5, 32]]
    ask(on, "Hi", None, 2, separate=True, own=own)
    asked = sorted((body["temperature"], body["max_tokens"], len(body["messages"])) for body in server.bodies())
    assert asked == [(0, 16, 2), (1.5, 32, 1)]
    ask(on, "Hi", None, 2, shared=["", 0.3, 1, 48], own=own)
    assert {body["temperature"] for body in server.bodies()[2:]} == {0.3}


@pytest.mark.parametrize("changed", [{"count": 8}, {"count": "2"}, {"shared": ["", 9, 1, 16]}, {"state": "text"}])
def test_values_that_no_page_sends_ask_nothing(on, server, changed):
    given = {"state": None, "count": 1, "shared": DRAWN, **changed}
    state = {"comparison": given["state"]} if given["state"] else None
    with pytest.raises(UserError):
        ask(on, "Hi", state, given["count"], shared=given["shared"])
    assert server.asked == []


@pytest.mark.parametrize("prompt", ["", "   \n", None])
def test_an_empty_message_is_not_sent(on, server, prompt):
    with pytest.raises(UserError, match="empty"):
        ask(on, prompt)
    assert server.asked == []


def test_a_column_that_fails_leaves_the_others_whole(on, server):
    server.answer = lambda model, messages: [ValueError("No.")] if len(messages) == 2 else ["fine"]
    answering = on.ask(request(), "Hi", *inputs(None, 2, separate=True, own=[DRAWN, ["System.", 0, 1, 16]]))
    told = []
    with pytest.raises(UserError, match="No"):
        told.extend(answering)  # keeps what came before the error
    _, state, *_ = told[-1]
    assert (texts(state, 0), texts(state, 1)) == (["Hi", "fine"], ["Hi"])


def test_a_question_that_nobody_answers_goes_back_to_where_it_was_written(on, server):
    state, _ = ask(on, "Hi", None, 2)
    server.answer = lambda model, messages: [ValueError("Too long.")]
    told = []
    with pytest.raises(UserError, match="Too long"):
        told.extend(on.ask(request(), "word " * 9000, *inputs(state, 2)))
    _, state, *_ = told[-1]
    prompt, state, *chats = on.ended("meanwhile ", state, request())
    assert prompt["value"] == "word " * 9000 + "\n\nmeanwhile"
    assert [message["content"] for message in chats[1]] == ["Hi", "The lamp."] == texts(state, 0) == texts(state, 1)
    assert len(state["comparison"]["columns"][0]["conversation"]["turns"]) == 2
    assert "value" not in on.ended("", state, request())[0]
    server.answer = lambda model, messages: ["fine"]
    state, _ = ask(on, "Short?", state, 2)
    assert server.bodies()[-1]["messages"] == [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The lamp."},
        {"role": "user", "content": "Short?"},
    ]  # fmt: skip


def test_a_question_that_is_stopped_before_any_answer_goes_back_too(on, server):
    _, state, *_ = next(on.ask(request(), "Hi", *inputs(None, 2)))
    state |= {"busy": [0, 1], "fresh": True}
    for column in state["comparison"]["columns"][:2]:
        column["conversation"]["turns"][1]["content"] = ""
    prompt, state, *chats = on.ended(None, state, request())
    assert (prompt["value"], chats[:2], texts(state, 0)) == ("Hi", [None, None], [])


def test_what_one_column_refused_does_not_stand_before_its_next_question(on, server):
    server.answer = lambda model, messages: [ValueError("No.")] if len(messages) == 2 else ["fine"]
    own = [DRAWN, ["System.", 0, 1, 16]]
    told = []
    with pytest.raises(UserError, match="No"):
        told.extend(on.ask(request(), "One?", *inputs(None, 2, separate=True, own=own)))
    state = told[-1][1]
    assert "value" not in on.ended("", state, request())[0]  # it was answered
    server.answer = lambda model, messages: ["fine"]
    state, _ = ask(on, "Two?", state, 2, separate=True, own=own)
    assert (texts(state, 0), texts(state, 1)) == (["One?", "fine", "Two?", "fine"], ["Two?", "fine"])
    state, *_ = on.branch(event(column=1, turn=0), request(), *inputs(state, 2))
    assert texts(state, 1) == ["One?"]  # and can still be answered


def test_again_makes_a_branch_that_can_be_left_and_taken(on, server):
    state, _ = ask(on, "Hi", None, 2)
    server.answer = lambda model, messages: ["Other."]
    *_, (prompt, state, *chats) = on.again(event(column=1), request(), *inputs(state, 2))
    assert (texts(state, 0), texts(state, 1)) == (["Hi", "The lamp."], ["Hi", "Other."])
    assert prompt == chats[0] == gr.skip()
    state, _, back, *_ = on.branch(event(column=1, turn=1), request(), *inputs(state, 2))
    assert texts(state, 1) == ["Hi", "The lamp."] == [message["content"] for message in back]
    for wrong in ({"column": 2}, {"column": 1, "turn": 99}, {"column": 1, "turn": True}, {"column": "1"}, {}):
        with pytest.raises(UserError):
            on.branch(event(**wrong), request(), *inputs(state, 2))


def test_an_edited_question_is_asked_in_every_column_that_has_it(on, server):
    server.answer = lambda model, messages: [f"<think>hm</think>to {messages[-1]['content']}"]
    state, _ = ask(on, "One?", None, 2)
    state, chats = ask(on, "Two?", state, 1)  # the second column is not on the page
    place = [message["content"] for message in chats[0]].index("Two?")
    assert place == 3  # behind the question, the thought and the answer
    *_, (_, state, *_) = on.edit(0, place, "Two < 3?", request(), inputs(state, 2))
    assert texts(state, 0)[2:] == ["Two < 3?", "<think>hm</think>to Two < 3?"]
    assert texts(state, 1) == ["One?", "<think>hm</think>to One?"]
    *_, (_, state, *_) = on.edit(1, 0, "Eins?", request(), inputs(state, 2))
    assert texts(state, 0)[0] == texts(state, 1)[0] == "Eins?"
    for index in (1, 99, -1, None):
        with pytest.raises(UserError, match="Only questions"):
            list(on.edit(0, index, "x", request(), inputs(state, 2)))


def test_stopped_answers_stay_as_far_as_they_came(on, server):
    server.answer = lambda model, messages: ["word "] * 400 if len(messages) == 1 else []
    server.pause = 0.02
    answering = on.ask(request(), "Hi", *inputs(None, 2, separate=True, own=[DRAWN, ["System.", 0, 1, 16]]))
    for _, state, *_ in answering:
        if texts(state, 0)[-1].count("word") > 2:
            break
    answering.close()
    state["busy"] = [0, 1]  # the second had not begun
    state["comparison"]["columns"][1]["conversation"]["turns"][1]["content"] = ""
    back, stopped, chat, *_ = on.ended("", state, request())
    assert (stopped["busy"], "value" in back) == ([], False)
    assert on.ended("", stopped, request())[1:] == (gr.skip(),) * (1 + MOST_COLUMNS)
    assert texts(stopped, 0)[1].startswith("word word")
    assert stopped["comparison"]["columns"][0]["conversation"]["turns"][1]["facts"]["finish"] == "stopped"
    assert texts(stopped, 1) == ["Hi"]
    assert chat[-1]["content"].startswith("word")


def test_every_answer_is_scored_by_every_model(on, server):
    state, _ = ask(on, "Hi", None, 2)
    *_, state = on.score(request(), *inputs(state, 2))
    for column in (0, 1):
        facts = state["comparison"]["columns"][column]["conversation"]["turns"][1]["facts"]
        assert facts["scores"] == {"base:starter": (-6.0, 3), OTHER: (-6.0, 3)}
    assert [body["answer"] for body in server.bodies("/v1/score")] == ["The lamp."] * 4
    with pytest.raises(UserError, match="no answer yet"):
        list(on.score(request(), *inputs()))
    server.has_routes = False
    with pytest.raises(UserError, match="cannot score"):
        list(on.score(request(), *inputs(ask(on, "Hi")[0])))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<think>a < b</think>\n\nSo.", [("Thoughts", "done", "a &lt; b"), (None, None, "So.")]),
        ("<think>still", [("Thoughts", "pending", "still")]),
        ("hm</think>So.", [("Thoughts", "done", "hm"), (None, None, "So.")]),
        ("Write <think> here.", [(None, None, "Write &lt;think> here.")]),
        ("`</think>` ends it", [(None, None, "`</think>` ends it")]),
    ],
)
def test_what_a_model_thinks_first_is_folded(answer, expected):
    shown = folded([{"role": "assistant", "content": as_text(answer)}], "Thoughts")
    assert expected == [
        ((one.get("metadata") or {}).get("title"), (one.get("metadata") or {}).get("status"), one["content"])
        for one in shown
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It costs $5 in the shop and $10", None),
        ("$5 or $ 10, $HOME/$USER, $$y$$, 5$ or 6$", None),
        ("from $5/$10; a \\$ and $", None),
        ("`$x$` and\n```\n$y$\n```\n", None),
        ("so $x^2$, ($a < b$).", r"so \(x^2\), (\(a &lt; b\))."),
        ("for $5 you get $n$ of them", r"for $5 you get \(n\) of them"),
    ],
)
def test_dollars_are_maths_only_where_they_cannot_be_prices(text, shown):
    talked = Conversation()
    for role in ("user", "assistant"):
        talked.add(role, text)
    question, answer = messages_shown(talked, "Thoughts")
    assert question["content"] == as_text(text)
    assert answer["content"] == (shown or as_text(text))
    assert "$" not in [one["left"] for one in LATEX]


# --- kept ---


def test_a_link_opens_what_was_saved_and_a_wrong_one_opens_the_page(on, talking, toasts):
    state, _ = ask(on, "Hi <b>", None, 2, shared=["Be brief.", 0.1, 0.5, 32])
    saved = SavedHandlers(talking)
    kept, name, listed = saved.save(request(), "", *inputs(state, 2, shared=["Be brief.", 0.1, 0.5, 32]))
    saved_id = kept["comparison"]["id"]
    assert (name, listed.value) == ("Hi <b>", saved_id)
    opened = saved.land(request(comparison=saved_id))
    assert opened[:7] == (opened[0], 2, False, "Be brief.", 0.1, 0.5, 32)
    assert texts(opened[0], 1) == ["Hi <b>", "The lamp."]
    assert [menu.value for menu in opened[7:9]] == ["base:starter", OTHER]
    assert opened[8].choices[-1] == (f"not there any more · {OTHER}", OTHER)
    assert [message["content"] for message in opened[-MOST_COLUMNS]] == ["Hi &lt;b>", "The lamp."]
    assert len(saved.land(request(comparison="../../etc"))) == len(opened)
    assert "not the id" in toasts[-1]
    state, listed = saved.rename(saved_id, "Lamp", kept)
    assert (state["comparison"]["name"], listed.choices) == ("Lamp", [("Lamp · 2", saved_id)])
    state, listed = saved.delete(saved_id, kept)
    assert (state["comparison"]["id"], listed.choices) == ("", [])


def test_what_a_link_brought_is_saved_as_a_new_one_and_says_so(on, talking, toasts):
    state, _ = ask(on, "Hi", None, 2)
    saved = SavedHandlers(talking)
    mine, *_ = saved.save(request(), "Lamp", *inputs(state, 2))
    mine_id = mine["comparison"]["id"]
    assert toasts == []
    lent, *_ = saved.land(request(comparison=mine_id))
    lent, _ = ask(on, "More?", lent, 1)
    theirs, name, listed = saved.save(request(), "Lamp", *inputs(lent, 1))
    assert (name, theirs["comparison"]["id"] != mine_id, listed.value) == ("Lamp (2)", True, theirs["comparison"]["id"])
    assert "Lamp (2)" in toasts.pop()
    assert texts(saved.open(mine_id, request())[0]) == ["Hi", "The lamp."]
    assert texts(theirs, 1) == ["Hi", "The lamp."]  # not shown, kept all the same
    again, *_ = saved.save(request(), "Lamp (2)", *inputs(theirs, 1))
    assert again["comparison"]["id"] == theirs["comparison"]["id"]
    opened, *_ = saved.open(mine_id, request())
    saved.save(request(), "Lamp", *inputs(mine, 2))
    assert saved.save(request(), "Lamp", *inputs(opened, 2))[1] == "Lamp (3)"
    assert len(toasts) == 1


def test_an_export_is_chosen_in_the_data_tab(on, talking, studio, toasts):
    saved = SavedHandlers(studio)
    state, _ = ask(on, "Hi", None, 2)
    menu = saved.export(request(), "<i>Mine</i>", *inputs(state, 2))
    (record,) = studio.datasets()
    assert (record.id, record.name, record.rows, record.format) == (menu.value, "<i>Mine</i>", 2, "messages")
    assert "&lt;i&gt;" in toasts[-1]
    assert list(studio.workspace.uploads.iterdir()) == []
    for nothing in (lambda: saved.export(request(), "", *inputs()), lambda: saved.export_all(request())):
        with pytest.raises(UserError, match="no answer to export"):
            nothing()


# --- who is offered ---


def finish(studio, job, *steps):
    (studio.workspace.job(job) / "adapter").mkdir()
    end = Finished(step=1, seconds=1, result="adapter", result_bytes=1, peak_memory_bytes=1)
    EventWriter(studio.workspace.job(job) / "events.jsonl").write(end)
    keep(studio, job, *steps)


def keep(studio, job, *steps, whole=True):
    for step in steps:
        folder = studio.workspace.job(job) / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        if whole:
            (folder / "manifest.json").write_text("{}")


def bring(studio, name="lent-00000000", **record):
    folder = studio.workspace.adapter(name)
    (folder / "adapter").mkdir(parents=True)
    write_json(folder / "record.json", {"id": name, "name": "Lent", "base_model": "org/lent", **record})
    return name


def test_the_menus_offer_what_can_answer_and_checkpoints_only_when_wanted(studio, new_job):
    unfinished, done = new_job("unfinished"), new_job("done", base_model="org/model")
    reward = new_job("marks", objective={"name": "reward"})
    finish(studio, done, 5, 10)
    finish(studio, reward, 5)
    keep(studio, unfinished, 3)
    keep(studio, unfinished, 4, whole=False)
    lent = bring(studio)
    bring(studio, "liar-00000000", id="other")
    assert [value for _, value in menu(studio, request())] == [
        "base:starter", done, lent, *sorted({"base:org/model", "base:org/lent"}, reverse=True)
    ]  # fmt: skip
    every = [value for _, value in menu(studio, request(), checkpoints=True)]
    at = every.index(done)
    assert every[at : at + 3] == [done, f"{done}@10", f"{done}@5"]
    assert f"{unfinished}@3" in every
    assert not [value for value in every if value.startswith(reward) or value.endswith("@4")]
    assert dict((value, label) for label, value in menu(studio, request(), checkpoints=True))[f"{done}@5"] == (
        "↳ done · step 5"
    )


def test_jobs_of_one_name_are_told_apart(studio, new_job):
    twins, other = [new_job("twin"), new_job("twin")], new_job("other")
    for job in (*twins, other):
        finish(studio, job, 5)
    labels = {value: label for label, value in menu(studio, request(), checkpoints=True)}
    assert len(set(labels.values())) == len(labels)
    for job in twins:
        assert labels[job].endswith(f" · {job[-4:]}")
        assert labels[f"{job}@5"] == f"↳ twin · step 5 · {job[-4:]}"
    assert other[-4:] not in labels[other]


def test_what_a_choice_means(studio, new_job):
    job = new_job("done", base_model="org/model")
    finish(studio, job, 5)
    lent = bring(studio)
    target = lambda choice: chat_target(studio.store, studio.workspace, choice)  # noqa: E731
    assert target(job) == Target("org/model", job)
    assert target(f"{job}@5") == target(f"{job}@005") == Target("org/model", f"{job}@5")
    assert target(lent) == Target("org/lent", lent)
    whole = studio.workspace.job(job) / "checkpoints" / "checkpoint-6"
    whole.mkdir()
    (whole / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="holds nothing"):
        target(f"{job}@6")
    (whole / "config.json").write_text("{}")
    assert target(f"{job}@6") == Target(str(whole.absolute()), "base")
    keep(studio, job, 8, whole=False)
    with pytest.raises(UserError, match="keeps no checkpoint of step 8"):
        target(f"{job}@8")
    for wrong in (f"{job}@7", f"{job}@../..", f"{job}@", "gone-00000000@5", "../x@5", f"{job}@-1"):
        with pytest.raises(UserError):
            target(wrong)


def test_new_columns_begin_with_somebody_else(studio):
    choices = [(name, name) for name in ("base:starter", "a", "b", "base:c")]
    assert chosen(choices, (), None)[:5] == ["base:starter", "a", "b", "base:c", "base:starter"]
    assert chosen(choices, ("base:starter", "b"), "a")[:2] == ["a", "b"]
    assert chosen(choices, ("base:starter", "a"), "a")[:2] == ["a", "base:starter"]
    assert chosen(choices, ("a", "a"), None)[:2] == ["a", "a"]  # to compare settings
    assert chosen(choices, ("gone", "gone"), "gone")[:2] == ["base:starter", "a"]


def test_a_checkpoint_that_a_column_shows_stays_in_its_menu(studio, new_job):
    job = new_job("done")
    finish(studio, job, 5)
    shown = [f"{job}@5", *["base:starter"] * (MOST_COLUMNS - 1)]
    first, *_ = SavedHandlers(studio).arrive(False, request(), *shown)
    assert first.choices[-1] == ("↳ done · step 5", f"{job}@5")


# --- the prompt list and the routes ---


@pytest.fixture
def asking(talking):
    """The routes, asked without a browser."""
    app, routes = FastAPI(), PlayRoutes(talking)
    app.add_exception_handler(UserError, user_error_response)
    app.include_router(routes.router())
    return SimpleNamespace(web=TestClient(app), on=PromptHandlers(talking, routes.desk), studio=talking)


def test_a_list_is_asked_with_the_columns_settings(asking, server):
    batch = asking.on.run("a\nb", *inputs(None, 2, shared=["Be brief.", 0, 1, 16]))["batch"]
    while (told := asking.web.get(f"/api/playground/batches/{batch}").json())["running"]:
        pass
    assert [model["choice"] for model in told["models"]] == ["base:starter", OTHER]
    assert {body["max_tokens"] for body in server.bodies()} == {16}
    table = asking.web.get(f"/api/playground/batches/{batch}/answers.csv")
    assert table.headers["content-disposition"] == 'attachment; filename="answers.csv"'
    assert table.text.splitlines()[1] == "a,The lamp.,The lamp."
    assert len(asking.web.get(f"/api/playground/batches/{batch}/answers.jsonl").text.splitlines()) == 2
    assert asking.web.get("/api/playground/batches/" + "0" * 16).status_code == 400
    assert asking.web.get("/api/playground/batches/..%2f..").status_code in (404, 422)


def test_an_empty_thought_leaves_no_tags_in_the_table():
    assert thought_apart("<think>\n</think>\n\nA < b.") == ("", "A < b.")
    assert thought_apart("`<think>` & a < b\n") == ("", "`<think>` & a < b\n")
    assert thought_apart("<think>cut") == ("cut", "")


def test_thoughts_are_apart_in_the_table_and_whole_in_the_downloads(asking, server):
    server.answer = lambda model, messages: ["<think>a <b> `c`", "</think>\n\nSo < it.\n"]
    batch = asking.on.run("a", *inputs(None, 1))["batch"]
    while (told := asking.web.get(f"/api/playground/batches/{batch}").json())["running"]:
        pass
    (cell,) = told["rows"][0]["cells"]
    assert (cell["thought"], cell["text"]) == ("a <b> `c`", "So < it.")
    for ending in ("csv", "jsonl"):
        assert "<think>a <b> `c`</think>" in asking.web.get(f"/api/playground/batches/{batch}/answers.{ending}").text


def test_only_an_uploaded_file_of_prompts_is_taken(asking, tmp_path):
    file = asking.studio.workspace.new_upload("list.txt")
    file.write_bytes("\ufeffone\n二\n".encode())
    assert asking.on.take_file(str(file)) == "one\n二\n"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        asking.on.take_file(str(file))
    outside = tmp_path / "list.txt"
    outside.write_text("secret")
    with pytest.raises(UserError, match="not uploaded"):
        asking.on.take_file(str(outside))


def test_tokens_are_counted_by_a_model_that_is_in_memory_and_no_other(asking, server):
    ask = {"choice": "base:starter", "messages": [{"role": "user", "content": "Hi"}]}
    count = lambda **changes: asking.web.post("/api/playground/tokens", json={**ask, **changes})  # noqa: E731
    assert count().json() == {"tokens": 12, "context": 2048}
    assert count(choice="base:org/model").json() == {"tokens": None, "context": None}
    assert len(server.asked) == 1
    assert count(messages=[]).status_code == 422
    assert count(choice="../../etc").status_code == 400


def test_the_settings_of_the_page_are_those_of_a_column():
    assert list(Drawn.model_fields) == ["system", "temperature", "top_p", "max_tokens"]


def test_a_thumb_for_an_answer_becomes_a_row_with_a_label(talking):
    folder = talking.workspace.models / "smollm2-135m-instruct"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    app = FastAPI()
    app.add_exception_handler(UserError, user_error_response)
    app.include_router(PlayRoutes(talking).router())
    asked = TestClient(app)
    wish = {
        "choice": "base:starter", "name": "Base", "messages": [{"role": "user", "content": "What is fog?"}],
        "answer": "Low cloud.", "temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "voter": "ann", "good": True,
    }  # fmt: skip
    assert asked.post("/api/playground/thumb", json=wish).json() == {"done": "thumb"}
    made = kto_rows(VoteStore(talking.workspace.votes).read())
    assert [(row["prompt"][0]["content"], row["label"]) for row in made.rows] == [("What is fog?", True)]
    for wrong in ({"choice": "no-such-job"}, {"voter": "\x00"}, {"answer": ""}, {"messages": []}):
        refused = asked.post("/api/playground/thumb", json={**wish, **wrong})
        assert refused.status_code in (400, 422)
        assert "Traceback" not in refused.text
    assert asked.post("/api/playground/thumb", json={**wish, "good": None}).status_code == 200
    assert not kto_rows(VoteStore(talking.workspace.votes).read()).rows
