"""Every spelling becomes the same examples, word for word; what cannot be learned is refused naming its column."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.cells import is_blank
from studio.data.examples import RowError
from studio.data.formats import FORMATS
from studio.data.recognition import recognise

CALL = {"name": "add", "arguments": {"a": 1, "b": [2.5, "zwei"]}}
TOOL = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def human(text):
    return {"from": "human", "value": text}


def gpt(text):
    return {"from": "gpt", "value": text}


Q, A, B = user("q"), assistant("a"), assistant("b")
ASKED = {"prompt": [Q], "completion": [A]}
PAIR = {"prompt": [Q], "chosen": [A], "rejected": [B]}
HH = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: q\n\nAssistant: "
HH_PROMPT = [user("hi"), assistant("yes?"), Q]

GOOD = [
    ("ultrachat", {"id": "0", "data": ["q", "a", "r", "b"]}, {"messages": [Q, A, user("r"), B]}),
    ("ultrachat", {"Data": ["q", "a"]}, {"messages": [Q, A]}),
    ("text", {"text": "t", "data": ["q", "a"]}, {"text": "t"}),
    ("prompt_completion", {"prompt": "q", "completion": "a", "data": ["r", "b"]}, ASKED),
    ("prompt_completion", {"user": "q", "assistant": "a", "system": "s"}, {**ASKED, "prompt": [system("s"), Q]}),
    ("question_answer", {"user": "u1", "question": "q", "response": "a"}, ASKED),
    ("question_answer", {"assistant": "bot 7", "question": "q", "answer": "a"}, ASKED),
    ("messages", {"messages": json.dumps([Q, A])}, {"messages": [Q, A]}),
    ("prompt_completion", {"prompt": json.dumps([Q]), "completion": "a"}, {**ASKED, "prompt": [user(json.dumps([Q]))]}),
    ("alpaca", {"instruction": "q", "input": "", "output": "a", "target": "t"}, ASKED),
    # Alpaca
    ("alpaca", {"instruction": "q", "input": "", "output": "a"}, ASKED),
    ("alpaca", {"instruction": "q", "input": None, "output": "a", "text": "Below is …"}, ASKED),
    ("alpaca", {"instruction": "", "input": "q", "output": "a"}, ASKED),
    ("alpaca", {"Instruction": "q", "OUTPUT ": "a"}, ASKED),
    ("alpaca", {"指令": "q", "输入": "", "输出": "a"}, ASKED),
    ("alpaca", {"instruction": "q", "output": "None"}, {"prompt": [Q], "completion": [assistant("None")]}),
    (
        "alpaca",
        {"instruction": "q", "input": "i", "output": "a", "系统": "s", "历史": [["h", "r"]]},
        {"prompt": [system("s"), user("h"), assistant("r"), user("q\n\ni")], "completion": [A]},
    ),
    # other questions and answers
    ("dolly", {"instruction": "q", "context": "", "response": "a", "category": "open_qa"}, ASKED),
    ("dolly", {"instruction": "q", "context": "c", "response": "a"}, {"prompt": [user("q\n\nc")], "completion": [A]}),
    ("prompt_completion", {"prompt": "q", "completion": "a"}, ASKED),
    ("prompt_completion", {"prompt": "q", "response": "a"}, ASKED),
    ("prompt_completion", {"prompt": [Q], "completion": [A]}, ASKED),
    ("prompt_completion", {"提示": "q", "补全": "a"}, ASKED),
    ("prompt_completion", {"提示": "q", "回复": "a"}, ASKED),
    ("question_answer", {"question": "q", "answer": "a"}, ASKED),
    ("question_answer", {"问题": "q", "回答": "a"}, ASKED),
    ("question_answer", {"问题": "q", "答案": "a"}, ASKED),
    (
        "question_answer",
        {"id": "1", "system_prompt": "s", "question": "q", "response": "a"},
        {"prompt": [system("s"), Q], "completion": [A]},
    ),
    ("flan", {"inputs": "q", "targets": "a", "task": "t"}, ASKED),
    ("flan", {"kind": "NLI", "input": "q", "target": "a"}, ASKED),
    # conversations
    ("sharegpt", {"conversations": [human("q"), gpt("a")]}, {"messages": [Q, A]}),
    ("sharegpt", {"conversation": [Q, A], "model": "x"}, {"messages": [Q, A]}),
    ("sharegpt", {"对话": [human("q"), gpt("a")], "系统": "s"}, {"messages": [system("s"), Q, A]}),
    (
        "sharegpt",
        {"conversations": [{"from": "system", "value": "s"}, human("q"), {"from": "chatgpt", "value": "a"}]},
        {"messages": [system("s"), Q, A]},
    ),
    (
        "sharegpt",
        {
            "conversations": [
                human("q"),
                {"from": "function_call", "value": json.dumps(CALL)},
                {"from": "observation", "value": "3.5"},
                gpt("a"),
            ],
            "tools": json.dumps([TOOL["function"]]),
        },
        {
            "messages": [
                Q,
                {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
                {"role": "tool", "content": "3.5"},
                A,
            ],
            "tools": [TOOL],
        },
    ),
    (
        "sharegpt",  # Hermes: the call stands in the text
        {
            "conversations": [
                human("q"),
                gpt('<tool_call>{"name": "f"}</tool_call>'),
                {"from": "tool", "value": "1"},
                gpt("a"),
            ]
        },
        {"messages": [Q, assistant('<tool_call>{"name": "f"}</tool_call>'), {"role": "tool", "content": "1"}, A]},
    ),
    ("messages", {"messages": [Q, A], "prompt": "q", "prompt_id": "7"}, {"messages": [Q, A]}),
    ("messages", {"messages": [{"role": "developer", "content": "s"}, Q, A]}, {"messages": [system("s"), Q, A]}),
    (
        "messages",
        {"messages": [{**Q, "name": None, "tool_calls": None, "timestamp": 3}, {**A, "refusal": None}]},
        {"messages": [Q, A]},
    ),
    (
        "messages",
        {"messages": [user([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]), A]},
        {"messages": [user("one two"), A]},
    ),
    (
        "messages",
        {
            "messages": [
                Q,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                        {"id": "c2", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}},
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                {"role": "tool", "tool_call_id": "c2", "content": ""},
                A,
            ],
            "tools": [TOOL],
        },
        {
            "messages": [
                Q,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}, "id": "c1"},
                        {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}, "id": "c2"},
                    ],
                },
                {"role": "tool", "content": "1", "tool_call_id": "c1"},
                {"role": "tool", "content": "", "tool_call_id": "c2"},
                A,
            ],
            "tools": [TOOL],
        },
    ),
    (
        "messages",
        {"messages": [Q, {**A, "weight": 0}, user("r"), {**B, "weight": 1, "reasoning": "hm"}]},
        {"messages": [Q, {**A, "weight": 0}, user("r"), {**B, "reasoning_content": "hm"}]},
    ),
    ("messages", {"messages": [user("q"), user("r"), A]}, {"messages": [Q, user("r"), A]}),
    # preference
    ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, PAIR),
    ("preference", {"question": "q", "chosen": "a", "rejected": "b", "system": ""}, PAIR),
    ("preference", {"提示": "q", "选中": "a", "拒绝": "b"}, PAIR),
    ("preference", {"问题": "q", "优选": "a", "劣选": "b"}, PAIR),
    ("preference", {"prompt": [Q], "chosen": [A], "rejected": [B]}, PAIR),
    ("preference", {"chosen": [Q, A], "rejected": [Q, B]}, PAIR),
    ("preference", {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B], "messages": [Q, A], "prompt_id": "1"}, PAIR),
    (
        "preference",
        {"prompt": "q", "chosen": [system("s"), Q, A], "rejected": [system("s"), Q, B]},
        {**PAIR, "prompt": [system("s"), Q]},
    ),
    (
        "preference",
        {"prompt": "q", "system": "s", "chosen": [Q, A, user("r"), A], "rejected": [Q, A, user("r"), B]},
        {"prompt": [system("s"), Q, A, user("r")], "chosen": [A], "rejected": [B]},
    ),
    ("preference", {"conversations": [human("q")], "chosen": gpt("a"), "rejected": gpt("b")}, PAIR),
    ("preference", {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"}, PAIR),
    ("preference", {"chosen": HH + "a", "rejected": HH + "b"}, {**PAIR, "prompt": HH_PROMPT}),
    ("preference", {"prompt": HH.rstrip(" "), "chosen": "a", "rejected": "b"}, {**PAIR, "prompt": HH_PROMPT}),
    # unpaired preference
    ("unpaired_preference", {"prompt": "q", "completion": "a", "label": True}, {**ASKED, "label": True}),
    ("unpaired_preference", {"messages": [Q, A], "label": False}, {**ASKED, "label": False}),
    ("unpaired_preference", {"conversations": [human("q"), gpt("a")], "label": False}, {**ASKED, "label": False}),
    (
        "unpaired_preference",
        {"instruction": "q", "input": "", "output": "a", "kto_tag": True},
        {**ASKED, "label": True},
    ),
    ("unpaired_preference", {"提示": "q", "回答": "a", "标签": False}, {**ASKED, "label": False}),
    # text
    ("text", {"text": "t"}, {"text": "t"}),
    ("text", {"content": " t\u2028\n"}, {"text": " t\u2028\n"}),
    ("text", {"文本": "t", "label": 3}, {"text": "t"}),
]


@pytest.mark.parametrize(("name", "row", "example"), GOOD, ids=[f"{i}-{case[0]}" for i, case in enumerate(GOOD)])
def test_a_row_in_any_spelling_becomes_its_example(name, row, example):
    before = json.dumps(row)
    chosen, reason = recognise([row])
    assert chosen.name == name
    assert any(repr(column) in reason for column in row)
    assert chosen.to_example(row) == example
    assert json.dumps(row) == before


TWO_CALLS = [Q, {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": CALL}]}]
BAD_TURNS = [
    ([], "empty list"),
    ("[]", "text, not a list"),
    ('[{"role": "user"', "text, not a list"),
    ('["q", "a"]', "text, not a list"),
    ([{"value": "q"}, A], "Turn 1 has no from"),
    ([{"content": "q"}, A], "Turn 1 has no role"),
    ([user([{"type": "text"}]), A], "a text part without its text"),
    ([user([{"type": "text", "text": None}]), A], "a text part without its text"),
    (["q"], "Turn 1 is text"),
    ([Q], "nothing to learn"),
    ([Q, {"role": "assistant"}], "Turn 2 has no content"),
    ([Q, {"role": "assistant", "contents": "a"}], "'contents' meant"),
    ([Q, {"rol": "assistant", "content": "a"}], "'rol' meant"),
    ([Q, assistant(None)], "null"),
    ([Q, assistant(5)], "a number"),
    ([Q, assistant(True)], "true or false"),
    ([Q, assistant(" \n")], "Turn 2 is empty"),
    ([Q, assistant("\u200b\ufeff")], "Turn 2 is empty"),
    ([user(""), A], "Turn 1 is empty"),
    ([Q, assistant([])], "an empty list"),
    ([{"role": "narrator", "content": "q"}, A], "'narrator'"),
    ([{"role": ["user"], "content": "q"}, A], "not known"),
    ([Q, A, user("r")], "nobody answers"),
    ([Q, A, system("s"), A], "system's, and not the first"),
    ([system("s"), system("t"), Q, A], "not the first"),
    ([Q, {"role": "tool", "content": "1"}, A], "no call stands"),
    ([{"role": "tool", "content": "1"}, A], "no call stands"),
    ([Q, assistant("hello"), {"role": "tool", "content": "1"}, A], "calls no tool"),
    ([*TWO_CALLS, {"role": "tool", "tool_call_id": "y", "content": "1"}, A], "'y'"),
    ([*TWO_CALLS, {"role": "tool", "tool_call_id": "x", "content": None}, A], "null"),
    ([Q, {**A, "tool_calls": "f()"}], "not a list"),
    ([Q, {**A, "tool_calls": [{"function": {"arguments": "{}"}}]}], "no function name"),
    ([Q, {**A, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": }'}}]}], "not valid JSON"),
    ([Q, {**A, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": NaN}'}}]}], "NaN"),
    ([Q, {**A, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1, "a": 2}'}}]}], "twice"),
    ([Q, {**A, "tool_calls": [{"function": {"name": "f", "arguments": "[" * 100_000}}]}], "not valid JSON"),
    ([Q, {**A, "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}], "not an object"),
    ([user([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]), A], "'image_url'"),
    ([user([{"type": "input_audio", "input_audio": {}}]), A], "'input_audio'"),
    ([user([{"path": "/etc/passwd"}]), A], "an object"),
    ([user({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}), A], "an object"),
    ([{**Q, "images": ["http://127.0.0.1/x.png"]}, A], "'images'"),
    ([Q, {**A, "weight": 0}], "nothing to learn"),
    ([Q, {**A, "weight": 0.5}], "weight"),
]


@pytest.mark.parametrize("column", ["messages", "消息", "conversations"])
@pytest.mark.parametrize(("turns", "words"), BAD_TURNS, ids=[str(i) for i in range(len(BAD_TURNS))])
def test_turns_that_cannot_be_learned_are_refused_by_the_users_column(column, turns, words):
    row = {"id": 1, column: turns}
    with pytest.raises(RowError) as caught:
        recognise([row])[0].to_example(row)
    assert caught.value.column == column
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([gpt("a"), human("q"), gpt("a")], "begins with the assistant"),
        ([human("q"), human("r"), gpt("a")], "Turns 1 and 2 are both the user's"),
        ([human("q"), gpt("a"), gpt("b")], "Turns 2 and 3 are both the assistant's"),
        ([human("q"), gpt("a"), human("r")], "nobody answers"),
        ([human("q"), {"from": "observation", "value": "1"}, gpt("a")], "no call stands"),
        ([human("q"), {"from": "function_call", "value": "add(1)"}, gpt("a")], "not valid JSON"),
        ([human("q"), {"from": "gpt", "content": "a"}], "has no value"),
        ([human("q"), {"from": "alien", "value": "a"}], "'alien'"),
        ([human("q"), {"from": "gpt", "value": {"path": "x.png"}}], "an object"),
    ],
)
def test_sharegpt_turns_out_of_order_are_refused(turns, words):
    with pytest.raises(RowError, match=words) as caught:
        FORMATS["sharegpt"].to_example({"conversations": turns})
    assert caught.value.column == "conversations"


BAD_ROWS = [
    (
        {"conversations": json.dumps([human("q")]), "chosen": json.dumps(gpt("a")), "rejected": "b"},
        "conversations",
        "text",
    ),
    ({"data": ["q", "a", "r"]}, "data", "no answer"),
    ({"data": ["q", " "]}, "data", "Turn 2 is empty"),
    ({"instruction": "q", "output": ["a", "b"]}, "output", "two answers"),
    ({"instruction": "q", "output": ["a", "b", "c"]}, "output", "a list"),
    ({"instruction": "q", "output": None}, "output", "null"),
    ({"instruction": "q", "output": ""}, "output", "empty"),
    ({"指令": "q", "输出": " \u3000"}, "输出", "empty"),
    ({"instruction": "q", "output": 4}, "output", "a number"),
    ({"instruction": "q", "output": False}, "output", "true or false"),
    ({"instruction": "q", "output": ["a"]}, "output", "a list"),
    ({"instruction": "q", "output": {"path": "/etc/passwd"}}, "output", "an object"),
    ({"instruction": "", "input": "", "output": "a"}, "instruction", "empty"),
    ({"instruction": "q", "input": 3, "output": "a"}, "input", "a number"),
    ({"instruction": "q", "output": "a", "history": "[]"}, "history", "not a list"),
    ({"instruction": "q", "output": "a", "history": [["q"]]}, "history", "pair"),
    ({"instruction": "q", "output": "a", "history": [["q", ""]]}, "history", "pair"),
    ({"instruction": "q", "output": "a", "tools": "[{]"}, "tools", "JSON"),
    ({"instruction": "q", "output": "a", "tools": [{"description": "x"}]}, "tools", "no name"),
    ({"instruction": "q", "output": "a", "tools": {"name": "x"}}, "tools", "not a list"),
    ({"inputs": "q", "targets": " "}, "targets", "empty"),
    ({"question": None, "answer": "a"}, "question", "null"),
    ({"prompt": [Q, A], "completion": [A]}, "prompt", "ends with"),
    ({"prompt": [Q], "completion": [A, user("r")]}, "completion", "end with the assistant"),
    ({"prompt": [Q], "completion": [user("r"), A]}, "completion", "not part of the prompt"),
    ({"prompt": "q", "chosen": "a", "rejected": "a"}, "rejected", "same"),
    ({"prompt": "q", "选中": "a", "拒绝": "a"}, "拒绝", "same"),
    ({"prompt": "q", "chosen": "a", "rejected": None}, "rejected", "null"),
    ({"chosen": "a", "rejected": "b"}, "prompt", "missing"),
    ({"chosen": [Q, A], "rejected": [user("r"), B]}, "rejected", "different"),
    ({"prompt": "x", "chosen": [Q, A], "rejected": [Q, B]}, "chosen", "another prompt"),
    ({"prompt": [Q], "chosen": [A], "rejected": [user("r"), B]}, "rejected", "another prompt"),
    ({"chosen": [Q, A, user("r"), A], "rejected": [Q, B, user("r"), B]}, "chosen", "not part of the prompt"),
    ({"chosen": [Q, A, user("r")], "rejected": [Q, B]}, "chosen", "end with the assistant"),
    ({"chosen": HH + "a", "rejected": HH}, "rejected", "empty"),
    ({"conversations": [human("q"), gpt("z")], "chosen": gpt("a"), "rejected": gpt("b")}, "conversations", "ends"),
    ({"messages": [A], "label": True}, "messages", "No question"),
    ({"messages": [Q], "label": True}, "messages", "nothing to learn"),
    ({"text": ["t"]}, "text", "a list"),
    ({"text": ""}, "text", "empty"),
    *[
        ({"prompt": "q", "completion": "a", "label": label}, "label", "not true or false")
        for label in ("true", "false", "yes", "", 1, 0, 1.0, 2, None, [True])
    ],
    ({"提示": "q", "回答": "a", "标签": "是"}, "标签", "not true or false"),
]


@pytest.mark.parametrize(("row", "column", "words"), BAD_ROWS, ids=[str(i) for i in range(len(BAD_ROWS))])
def test_a_bad_value_is_refused_by_the_users_column(row, column, words):
    with pytest.raises(RowError) as caught:
        recognise([row])[0].to_example(row)
    assert caught.value.column == column
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("row", "column", "near"),
    [
        ({"instruction": "q", "input": "", "ouput": "a"}, "output", "'ouput'"),
        ({"prompt": "q", "compleation": "a"}, "completion", "'compleation'"),
        ({"prompt": "q", "chosen": "a", "rejcted": "b"}, "rejected", "'rejcted'"),
        ({"mesages": [Q, A]}, "messages", "'mesages'"),
        ({"conversatons": [human("q"), gpt("a")]}, "conversations", "'conversatons'"),
        ({"question": "q", "anwser": "a"}, "answer", "'anwser'"),
        ({"instruction": "q"}, "output", "needs"),
        ({"prompt": "q"}, "completion", "needs"),
        ({"prompt": "q", "chosen": "a"}, "rejected", "needs"),
        ({"prompt": "q", "data": 1}, "completion", "needs"),
    ],
)
def test_a_slip_in_a_column_name_is_named_with_what_was_meant(row, column, near):
    with pytest.raises(RowError) as caught:
        recognise([row])
    assert caught.value.column == column
    assert near in caught.value.message
    assert caught.value.hint


def test_columns_of_no_format_are_listed():
    with pytest.raises(RowError, match="No known format has the columns 'foo', 'bar'"):
        recognise([{"foo": 1, "bar": 2}])


@pytest.mark.parametrize("value", ["q", ["q"], [], [["q", "a"]], ["q", 1], None, {"q": "a"}])
def test_a_column_called_data_says_nothing_by_its_name_alone(value):
    with pytest.raises(RowError, match="No known format has the columns 'id', 'data'"):
        recognise([{"id": 1, "data": value}])


def test_most_rows_decide_and_a_slip_in_the_first_is_its_own():
    rows = [
        {"instruction": "q", "ouput": "a"},
        {"instruction": "q", "output": "a"},
        {"instruction": "r", "output": "a"},
    ]
    chosen, _ = recognise(rows)
    read = chosen.reader_for(rows)
    assert chosen.name == "alpaca"
    with pytest.raises(RowError, match="'ouput' meant") as caught:
        read(rows[0])
    assert caught.value.column == "output"
    assert read(rows[1]) == ASKED


def test_a_file_does_not_change_its_spelling_half_way():
    rows = [{"prompt": "q", "completion": "a"}, {"prompt": "q", "response": "a"}, {"messages": [Q, A]}]
    read = recognise(rows[:1])[0].reader_for(rows[:1])
    read(rows[0])
    for row, column in ((rows[1], "completion"), (rows[2], "prompt")):
        with pytest.raises(RowError) as caught:
            read(row)
        assert caught.value.column == column


def test_an_optional_column_may_come_and_go():
    rows = [{"instruction": "q", "output": "a"}, {"instruction": "q", "output": "a", "系统": "s"}]
    read = FORMATS["alpaca"].reader_for(rows[:1])
    assert [read(row)["prompt"] for row in rows + rows[:1]] == [[Q], [system("s"), Q], [Q]]


def test_any_number_of_different_keys_costs_no_memory():
    read = FORMATS["text"].reader_for([{"text": "t"}])
    for number in range(3_000):
        assert read({"text": "t", str(number): 1}) == {"text": "t"}
    assert len(read._layouts) <= 1_000


def test_one_message_a_row_is_not_raw_text():
    with pytest.raises(RowError):
        recognise([{"role": "user", "content": "q"}])


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("messages", {"messages": [Q, user("r"), A]}, "Turns 1 and 2"),
        ("messages", {"messages": [A, Q, A]}, "begins"),
        (
            "preference",
            {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2.5},
            "score",
        ),
    ],
)
def test_what_is_odd_but_not_wrong_is_a_warning(name, row, words):
    heard = []
    FORMATS[name].reader_for([row], lambda *warning: heard.append(warning))(row)
    [(column, message, hint)] = heard
    assert column in row
    assert words in message
    assert hint


def test_every_alias_stands_for_one_part_only():
    for chosen in FORMATS.values():
        assert set(chosen.aliases) <= set(chosen.parts)
        names = [name for part in chosen.parts for name in (part, *chosen.aliases.get(part, ()))]
        assert len(names) == len(set(names)), chosen.name


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u3000", "\u200b", "\ufeff\u2060", "\x00", "\u2028"])
def test_what_nobody_can_see_is_blank(text):
    assert is_blank(text)
    assert not is_blank(text + "a")
    assert not is_blank(text + "海")


TEXTS = st.text(min_size=1).filter(lambda text: not is_blank(text))


@given(question=TEXTS, answer=TEXTS, other=TEXTS)
def test_no_word_is_changed(question, answer, other):
    prompt, completion = [user(question)], [assistant(answer)]
    read = {name: one.to_example for name, one in FORMATS.items()}
    asked = {"prompt": prompt, "completion": completion}
    assert read["alpaca"]({"instruction": question, "output": answer}) == asked
    assert read["dolly"]({"instruction": question, "context": "", "response": answer}) == asked
    assert read["question_answer"]({"question": question, "answer": answer}) == asked
    assert read["flan"]({"inputs": question, "targets": answer}) == asked
    assert read["prompt_completion"]({"prompt": question, "completion": answer}) == asked
    assert read["messages"]({"messages": prompt + completion}) == {"messages": prompt + completion}
    assert read["sharegpt"]({"conversations": [human(question), gpt(answer)]}) == {"messages": prompt + completion}
    assert read["text"]({"text": question}) == {"text": question}
    parts = [{"type": "text", "text": question}, {"type": "text", "text": answer}]
    assert read["messages"]({"messages": [user(parts), *completion]})["messages"][0]["content"] == question + answer
    if answer != other and not answer.startswith("\n\nHuman:") and not other.startswith("\n\nHuman:"):
        pair = read["preference"]({"prompt": question, "chosen": answer, "rejected": other})
        assert pair["chosen"] == completion
        assert pair["rejected"] == [assistant(other)]


KEYS = st.sampled_from(
    ["role", "content", "from", "value", "type", "text", "tool_calls", "function", "name", "arguments"]
)
LEAVES = st.sampled_from([None, True, 1, 2.5, "", "a", "user", "assistant", "gpt", "human", "tool", "text"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
COLUMNS = sorted({part for one in FORMATS.values() for part in one.parts})


@given(row=st.dictionaries(st.sampled_from(COLUMNS), VALUES, min_size=1))
def test_whatever_a_row_holds_it_is_an_example_or_a_sentence(row):
    try:
        said = [recognise([row])[0].to_example(row)]
    except RowError as error:
        said = [error.message, error.hint]
    assert all(said)


def test_real_sets_are_read_whole():
    """Files of the shapes that people really have, as small excerpts."""
    for file in sorted((Path(__file__).parent.parent.parent / "samples").glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        chosen, _ = recognise(rows)
        read = chosen.reader_for(rows)
        assert len([read(row) for row in rows]) == len(rows)
