"""The user's own columns play a format's parts: checked when chosen, quick to apply, well guessed to start with."""

import pytest

from studio.data.examples import RowError
from studio.data.mapping import ColumnMapping, suggest_mapping
from studio.errors import UserError

ROW = {"Frage": "q", "Antwort": "a", "id": 7}


def mapped(name="prompt_completion", **columns):
    return ColumnMapping(format=name, columns=columns)


def test_a_mapped_row_becomes_an_example():
    mapping = mapped(prompt="Frage", completion="Antwort")
    expected = {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    }
    assert mapping.to_example(ROW) == expected
    assert mapping.reader()(ROW) == expected
    assert "prompt is 'Frage'" in mapping.reason()
    assert ColumnMapping(**mapping.model_dump()) == mapping
    mapping.check_columns(ROW)


def test_only_the_chosen_columns_are_read():
    row = {**ROW, "system": "not asked for"}
    assert len(mapped(prompt="Frage", completion="Antwort").to_example(row)["prompt"]) == 1
    assert len(mapped(prompt="Frage", completion="Antwort", system="system").to_example(row)["prompt"]) == 2


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ({"Frage": "q"}, "Antwort", "missing"),
        ({"Frage": "q", "Antwrt": "a"}, "Antwort", "'Antwrt'"),
        ({"Frage": "q", "Antwort": None}, "Antwort", "null"),
        ({"Frage": 3, "Antwort": "a"}, "Frage", "a number"),
    ],
)
def test_a_bad_row_is_refused_by_the_users_column(row, column, words):
    with pytest.raises(RowError, match=words) as caught:
        mapped(prompt="Frage", completion="Antwort").to_example(row)
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [
        ("alpacka", {}, "no format 'alpacka'"),
        ("prompt_completion", {"prompt": "x"}, "needs 'completion'"),
        ("prompt_completion", {"prompt": "x", "completion": ""}, "needs 'completion'"),
        ("prompt_completion", {"prompt": "x", "completion": "y", "voice": "z"}, "no part 'voice'"),
        ("prompt_completion", {"prompt": "x", "completion": "x"}, "twice"),
        ("unpaired_preference", {"label": "l", "prompt": "x"}, "needs"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(name, columns, words):
    with pytest.raises(UserError, match=words):
        ColumnMapping(format=name, columns=columns)


def test_a_column_that_the_file_lacks_is_named_with_a_near_one():
    with pytest.raises(UserError, match="no column 'Antwort'") as caught:
        mapped(prompt="Frage", completion="Antwort").check_columns(["Frage", "Antworten"])
    assert "Antworten" in caught.value.hint


def test_every_group_of_parts_will_do():
    row = {"talk": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "good": True}
    example = mapped("unpaired_preference", label="good", messages="talk").to_example(row)
    assert example["label"] is True
    assert example["completion"][0]["content"] == "a"


@pytest.mark.parametrize(
    ("row", "name", "columns"),
    [
        ({"n": 1, "talk": [{"from": "human", "value": "q"}]}, "sharegpt", {"conversations": "talk"}),
        ({"src": "x", "tgt": "y"}, "prompt_completion", {"prompt": "src", "completion": "tgt"}),
        ({"": "x", "body": "y"}, "text", {"text": "body"}),
        ({"": "x", "Frage": "lang", "Antwort": "y"}, "prompt_completion", {"prompt": "Frage", "completion": "Antwort"}),
        (
            {"user_question": "x", "bot_reply": "y"},
            "prompt_completion",
            {"prompt": "user_question", "completion": "bot_reply"},
        ),
        ({"ask": "x", "good": "y", "bad": "z"}, "preference", {"chosen": "good", "rejected": "bad", "prompt": "ask"}),
        (
            {"task": "x", "reply": "y", "thumbs_up": True},
            "unpaired_preference",
            {"label": "thumbs_up", "prompt": "task", "completion": "reply"},
        ),
        (
            {"id": "7", "Frage": "lang " * 9, "Antwort": "länger " * 9},
            "prompt_completion",
            {"prompt": "Frage", "completion": "Antwort"},
        ),
        ({"body": "long text"}, "text", {"text": "body"}),
        ({"n": 3, "poem": "long text"}, "text", {"text": "poem"}),
    ],
)
def test_a_good_guess_starts_the_menus(row, name, columns):
    guess = suggest_mapping(list(row), [row, row])
    assert guess == ColumnMapping(format=name, columns=columns)
    guess.check_columns(row)


def test_without_text_there_is_no_guess():
    assert suggest_mapping(["a", "b"], [{"a": 1, "b": None}]) is None
    assert suggest_mapping([], []) is None
    assert suggest_mapping(["", " "], [{"": "a", " ": "b"}]) is None
