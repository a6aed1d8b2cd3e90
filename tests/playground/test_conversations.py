"""Trees of turns, what is saved of them, and the rows that they become."""

import pytest

from studio.data.isolation import import_file
from studio.errors import UserError
from studio.playground.conversations import (
    MOST_COLUMNS,
    Column,
    Comparison,
    Conversation,
    Drawn,
    Facts,
    export_rows,
    read_comparison,
)
from studio.playground.saved import SavedComparisons
from tests.conftest import write_rows


def talk(*texts):
    conversation = Conversation()
    for number, text in enumerate(texts):
        conversation.add("assistant" if number % 2 else "user", text)
    return conversation


def shown(conversation):
    return [turn.content for turn in conversation.shown()]


def test_another_answer_is_a_branch_and_the_first_stays():
    talked = talk("Who?", "Me.", "Why?", "So.")
    talked.leaf = talked.question()
    again = talked.add("assistant", "Because.")
    assert shown(talked) == ["Who?", "Me.", "Why?", "Because."]
    assert talked.siblings(again) == [3, again]
    talked.choose(3)
    assert shown(talked) == ["Who?", "Me.", "Why?", "So."]


def test_choosing_an_early_branch_shows_it_to_its_end():
    talked = talk("Who?", "Me.", "Why?", "So.")
    edited = talked.add("user", "What?", parent=-1)
    talked.add("assistant", "That.")
    assert shown(talked) == ["What?", "That."]
    talked.choose(0)
    assert shown(talked) == ["Who?", "Me.", "Why?", "So."]
    talked.choose(edited)
    assert shown(talked) == ["What?", "That."]


def test_an_answer_that_never_began_leaves_its_question_open():
    talked = talk("Who?")
    talked.begin_answer("base:starter")
    talked.end_answer(Facts(finish="stopped"))
    assert shown(talked) == ["Who?"]
    talked.begin_answer("base:starter")
    talked.answer().content = "Half"
    talked.end_answer(Facts(finish="stopped"))
    assert (shown(talked), talked.answer().facts.finish) == (["Who?", "Half"], "stopped")
    talked.leaf = talked.question()  # once more, in vain
    talked.begin_answer("base:starter")
    talked.end_answer(Facts(finish="stopped"))
    assert shown(talked) == ["Who?", "Half"]


def test_an_open_question_can_be_passed_over_or_taken_back():
    talked = talk("Who?", "Me.", "Why?")
    talked.pass_over()
    assert (shown(talked), len(talked.turns)) == (["Who?", "Me."], 3)
    talked.pass_over()
    assert (talked.withdraw(), shown(talked)) == ("", ["Who?", "Me."])
    talked.add("user", "How?")
    assert (talked.withdraw(), shown(talked), len(talked.turns)) == ("How?", ["Who?", "Me."], 3)
    assert (Conversation().withdraw(), talk("Who?").withdraw()) == ("", "Who?")


@pytest.mark.parametrize(
    "value",
    [
        {"columns": [{"conversation": {"turns": [{"parent": 0, "role": "user", "content": "loop"}], "leaf": 0}}]},
        {"columns": [{"conversation": {"turns": [], "leaf": 3}}]},
        {"columns": [{"conversation": {"turns": [{"parent": -1, "role": "system", "content": "x"}], "leaf": 0}}]},
        {"columns": [{"drawn": {"temperature": 99}}]},
        {"columns": [{}] * (MOST_COLUMNS + 1)},
        {"shown": MOST_COLUMNS + 1},
        {"extra": 1},
        "text",
    ],
)
def test_a_page_that_sends_something_else_is_refused(value):
    with pytest.raises(UserError):
        read_comparison(value)


def compared():
    columns = [
        Column(drawn=Drawn(system="Be brief."), conversation=talk("Who <b>?", "=1+1", "Open?")),
        Column(choice="job-1", conversation=talk("你好", "灯亮着。")),
        Column(choice="job-2"),
    ]
    return Comparison(shown=3, separate=True, columns=columns)


def test_what_is_saved_comes_back_under_its_name(workspace):
    store = SavedComparisons(workspace)
    kept = store.save(compared(), "  Two\nkeepers ")
    assert store.read(kept.id) == kept
    assert [column.choice for column in kept.columns] == ["base:starter", "job-1", "job-2"]
    assert [(one.id, one.name, one.columns) for one in store.list()] == [(kept.id, "Two keepers", 3)]
    again = store.save(kept, "")
    assert (again.id, again.revision) == (kept.id, 2)
    assert store.save(kept, "").id != kept.id  # it was saved since
    store.delete(next(one.id for one in store.list() if one.id != kept.id))
    assert store.rename(kept.id, "Others").name == store.read(kept.id).name == "Others"
    store.delete(kept.id)
    assert store.list() == []


def test_it_is_named_after_its_first_question_when_nobody_names_it(workspace):
    assert SavedComparisons(workspace).save(compared(), "").name == "Who <b>?"


def test_nothing_is_saved_of_nothing_and_damage_hides_nothing_else(workspace):
    store = SavedComparisons(workspace)
    with pytest.raises(UserError, match="nothing to save"):
        store.save(Comparison(), "x")
    kept = store.save(compared(), "good")
    (workspace.conversations / "bad-00000000.json").write_text('{"columns": 1}')
    (workspace.conversations / "torn-00000000.json").write_text('{"colu')
    assert [one.id for one in store.list()] == [kept.id]
    for broken in ("bad-00000000", "torn-00000000"):
        with pytest.raises(UserError, match="cannot be read"):
            store.read(broken)


@pytest.mark.parametrize("saved_id", ["../catalog", "/etc/passwd", "", "absent-00000000", "a" * 200, None])
def test_an_id_from_an_address_never_leaves_the_folder(workspace, saved_id):
    store = SavedComparisons(workspace)
    for act in (store.read, store.delete, lambda one: store.rename(one, "x")):
        with pytest.raises(UserError):
            act(saved_id)


def test_answers_that_were_cut_or_stopped_are_not_exported_as_if_they_were_whole(workspace, tmp_path):
    comparison = Comparison(columns=[Column(conversation=talk("Who?", "Me an", "Who?", "Me.", "Why?", "So th"))])
    turns = comparison.columns[0].conversation.turns
    for position, finish in ((1, "stopped"), (3, "stop"), (5, "length")):
        turns[position].facts = Facts(finish=finish)
    (row,) = export_rows([comparison])
    assert [(message["content"], message.get("weight")) for message in row["messages"]] == [
        ("Who?", None), ("Me an", 0), ("Who?", None), ("Me.", None)]  # fmt: skip
    assert import_file(write_rows(tmp_path / "talk.jsonl", [row]), workspace, format_name="messages").record.rows == 1
    turns[3].facts = Facts(finish="length")
    assert export_rows([comparison]) == []


def test_conversations_become_a_messages_data_set(workspace, tmp_path):
    rows = export_rows([compared()])
    assert [message["role"] for message in rows[0]["messages"]] == ["system", "user", "assistant"]
    assert len(rows) == 2
    verdict = import_file(write_rows(tmp_path / "talk.jsonl", rows), workspace, format_name="messages")
    assert (verdict.record.rows, verdict.record.format) == (2, "messages")
