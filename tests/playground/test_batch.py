"""A list of prompts asked of several models."""

import csv
import io
import json
import time

import pytest

from studio.errors import UserError
from studio.playground.batch import Asked, BatchDesk, jsonl, table
from studio.playground.conversations import Drawn
from studio.playground.prompts import MOST_PROMPTS, read_prompts

BASE = Asked("Base", "base:starter", Drawn(system="Be brief.", temperature=0))
OTHER = Asked("=Other", "base:org/model", Drawn(max_tokens=5))


def finished(desk, batch_id, seconds=20.0):
    end = time.monotonic() + seconds
    while desk.get(batch_id).running:
        assert time.monotonic() < end
        time.sleep(0.01)
    return desk.get(batch_id)


def test_lines_are_prompts_and_json_lines_may_be_conversations():
    assert read_prompts(" one \n\n{two\n") == [
        [{"role": "user", "content": "one"}],
        [{"role": "user", "content": "{two"}],
    ]
    said = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant")]
    rows = [{"prompt": "a\nb"}, {"messages": said}]
    found = read_prompts("\n".join(json.dumps(row) for row in rows))
    assert found == [[{"role": "user", "content": "a\nb"}], said[:2]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("  \n ", "no prompt yet"),
        ('{"prompt": "a"}\n{"prompt": ', "Line 2 is not JSON"),
        ('{"answer": "a"}', "Line 1 has no prompt"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "no message of the user"),
        ('{"messages": [{"role": "user", "content": 3}]}', "not text"),
        ("x\n" * (MOST_PROMPTS + 1), "has 1,001 prompts"),
    ],
)
def test_a_list_that_cannot_be_asked_is_refused_by_its_line(text, match):
    with pytest.raises(UserError, match=match):
        read_prompts(text)


def test_every_prompt_is_asked_of_every_model_and_the_table_leaves_harmless(talking, server):
    server.answer = lambda model, messages: ["=", messages[-1]["content"]]
    desk = BatchDesk(talking)
    batch = finished(desk, desk.start(read_prompts("What?\n+1"), [BASE, OTHER]))
    view = batch.view()
    assert (view["done"], view["of"], view["running"], view["since"]) == (4, 4, False, 2)
    assert [cell["text"] for cell in view["rows"][1]["cells"]] == ["=+1", "=+1"]
    assert view["rows"][0]["cells"][0]["tokens"] == 2
    asked = [(body["messages"][0]["role"], body["max_tokens"]) for body in server.bodies()]
    assert sorted(asked) == [("system", 256), ("system", 256), ("user", 5), ("user", 5)]
    rows = list(csv.reader(io.StringIO(b"".join(table(batch)).decode())))
    assert rows == [["prompt", "Base", "'=Other"], ["What?", "'=What?", "'=What?"], ["'+1", "'=+1", "'=+1"]]
    told = [json.loads(line) for line in b"".join(jsonl(batch)).decode().splitlines()]
    assert told[1]["prompt"] == "+1"
    assert told[1]["answers"][1]["settings"]["max_tokens"] == 5
    assert told[1]["answers"][1]["text"] == "=+1"


def test_an_error_fills_its_own_cell(talking, server):
    server.answer = lambda model, messages: [ValueError("No.")] if messages[-1]["content"] == "bad" else ["fine"]
    desk = BatchDesk(talking)
    batch = finished(desk, desk.start(read_prompts("good\nbad"), [OTHER]))
    assert [(row[0].text, row[0].error) for row in batch.cells] == [("fine", ""), ("", "No. Shorten it.")]


def test_cancelled_keeps_what_was_answered_and_asks_no_more(talking, server):
    server.pause = 0.05
    desk = BatchDesk(talking)
    batch_id = desk.start(read_prompts("\n".join(f"prompt {n}" for n in range(200))), [OTHER])
    while not desk.get(batch_id).done:
        time.sleep(0.01)
    desk.cancel(batch_id)
    batch = finished(desk, batch_id)
    assert 0 < batch.done < 100
    assert not [cell for row in batch.cells for cell in row if cell and cell.error]
    asked = len(server.bodies())
    time.sleep(0.2)
    assert len(server.bodies()) == asked


def test_a_model_that_is_not_there_starts_nothing(talking, server):
    with pytest.raises(UserError):
        BatchDesk(talking).start(read_prompts("a"), [Asked("x", "gone-00000000", Drawn())])
    with pytest.raises(UserError, match="not kept"):
        BatchDesk(talking).get("0" * 16)
    assert server.asked == []
