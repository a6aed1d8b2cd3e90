"""The Data tab's routes, asked as the page asks them, and what it says in both languages."""

import json
import re
import time
from types import SimpleNamespace

import gradio as gr
import pytest

from studio.data.audit.contract import Finding
from studio.data.audit.scripts import NAMES
from studio.data.audit.words import WORDS
from studio.data.formats import FORMATS
from studio.data.library import Library
from studio.errors import UserError
from studio.ui import files
from studio.ui.data_room import DataRoom, kind_of_text
from studio.ui.data_words import count_rows, singular, told_finding, told_reason
from studio.ui.front_page import SCRIPTS
from studio.ui.i18n import words
from studio.ui.server_folder import list_folder, offered_file
from studio.ui.tabs.data import DataHandlers, carried
from tests.conftest import instruction_rows, write_rows
from tests.ui.conftest import HERE, build_site, visitor

BAD_IDS = ("..", "../../etc", "%2e%2e%2fjobs", "a/../b", "UPPER-12345678", "no-such-12345678", "a" * 90, "-x", "数据")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A folder that the operator offers, and one beside it that he does not."""
    base = tmp_path_factory.mktemp("server")
    (base / "offered" / "deep").mkdir(parents=True)
    (base / "hidden").mkdir()
    write_rows(base / "offered" / "rows.jsonl", instruction_rows(6))
    write_rows(base / "offered" / "deep" / "more.jsonl", instruction_rows(4))
    write_rows(base / "hidden" / "secret.jsonl", instruction_rows(2))
    table = "instruction,output\n什么是灯塔？,灯塔是海上的灯。\n"
    (base / "offered" / "deep" / "gb.csv").write_text(table, encoding="gb18030")
    (base / "offered" / "program.exe").write_bytes(b"MZ")
    (base / "offered" / ".env.json").write_text("[]")
    (base / "offered" / "link.jsonl").symlink_to(base / "hidden" / "secret.jsonl")
    (base / "offered" / "way").symlink_to(base / "hidden")
    return base


@pytest.fixture(scope="module")
def site(tmp_path_factory, roots):
    return build_site(tmp_path_factory.mktemp("data") / "workspace", data_roots=(roots / "offered",))


@pytest.fixture
def page(site):
    """Asks /api/datasets as the page does."""
    who = visitor(site.app)

    def ask(method, route, status=200, **options):
        answer = who.request(method, f"/api/datasets/{route}", **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def wait(started):
        end = time.monotonic() + 120
        while (view := ask("GET", f"tasks/{started['task']}"))["state"] == "running":
            assert time.monotonic() < end
            time.sleep(0.05)
        return view

    def take(text, kind=""):
        return wait(ask("POST", "paste", json={"text": text, "kind": kind}))

    def get(route, status=200, /, **query):
        return ask("GET", route, status, params=query)

    def post(route, status=200, /, **body):
        return ask("POST", route, status, json=body)

    return SimpleNamespace(get=get, post=post, wait=wait, take=take, who=who)


def as_lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def messy_rows():
    """24 rows of which 5 and 6 repeat row 4, row 9 is padded, and row 12 says None."""
    rows = instruction_rows(24)
    rows[4] = rows[5] = dict(rows[3])
    rows[8] = {**rows[8], "output": "  the lamp is lit  "}
    rows[11] = {**rows[11], "output": "None"}
    return rows


@pytest.fixture
def dataset(page):
    return page.take(as_lines(messy_rows()))["result"]["record"]["id"]


@pytest.fixture
def look(tiny_model):
    return {"model": str(tiny_model), "template": "model", "max_length": 96}


def audited(page, dataset, look):
    """The report of an audit, as the page shows it."""
    view = page.wait(page.post(f"{dataset}/audit", **look))
    assert view["state"] == "done", view
    return page.get(f"{dataset}/report", **look)


def codes(report):
    return {one["code"]: one for one in report["findings"]}


# --- imports ---


@pytest.mark.parametrize(
    ("text", "kind", "found", "rows"),
    [
        ('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}', "", "JSON Lines", 2),
        ('[{"question": "a", "answer": "b"}]', "", "JSON", 1),
        ("question,answer\nWhat is tea?,A drink.\n", "", "CSV", 1),
        ("question\tanswer\nWhat is tea?\tA drink, hot.\n", "", "TSV", 1),
        ("问题,回答\n什么是茶？,一种饮料。\n", "", "CSV", 1),
        ("Tea, they say, is a drink.\nIt is hot.", "", "Text", 1),
        ("a,b\nc,d\n\ne", ".txt", "Text", 1),
    ],
)
def test_pasted_text_is_taken_for_what_it_is(page, text, kind, found, rows):
    verdict = page.take(text, kind)["result"]
    assert verdict["record"], verdict
    assert (verdict["record"]["kind"], verdict["record"]["rows"]) == (found, rows)


def test_a_kind_that_cannot_be_pasted_and_an_empty_text_are_sentences(page):
    assert "cannot be pasted" in page.post("paste", 400, text="x", kind=".exe")["error"]["message"]
    assert "too much" in page.post("paste", 400, text="x" * 5_000_001)["error"]["message"]
    assert "no text" in page.post("paste", 400, text=" \n ")["error"]["message"]
    half = page.who.post("/api/datasets/paste", content=b'{"text": "\\ud83d"}', headers={"content-type": "text/json"})
    assert half.status_code in (400, 422)
    assert [kind_of_text(text) for text in ("[1]", " {", "a,b\n1,2", "a\tb\nc\td", "a, b.", "One, two; three\nx")] == [
        ".jsonl", ".jsonl", ".csv", ".tsv", ".txt", ".txt"
    ]  # fmt: skip


def test_bad_rows_are_named_and_left_out_when_the_user_says_so(page):
    rows = instruction_rows(8)
    rows[3] = {"instruction": "x", "output": 5}
    view = page.take(as_lines(rows))
    verdict = view["result"]
    assert view["name"] == "paste.jsonl"
    assert verdict["record"] is None
    assert verdict["can_drop"]
    assert [(one["row"], one["column"]) for one in verdict["errors"]] == [(4, "output")]
    again = page.wait(page.post(f"tasks/{view['id']}/again", drop_bad_rows=True))
    assert again["result"]["record"]["dropped_rows"] == [4]


def test_an_encoding_is_offered_and_taken(page):
    view = page.wait(page.post("file", root=0, path="deep/gb.csv"))
    encodings = dict(view["result"]["encodings"])
    assert "灯塔" in encodings["gb18030"]
    assert "no encoding" in page.post(f"tasks/{view['id']}/again", 400, encoding="utf-9")["error"]["message"]
    record = page.wait(page.post(f"tasks/{view['id']}/again", encoding="gb18030"))["result"]["record"]
    assert (record["rows"], record["encoding"]) == (1, "gb18030")


def test_columns_that_no_format_knows_are_mapped_with_a_live_example(page):
    view = page.take("ask,reply,when\nWhat is tea?,A drink.,1\nWho keeps it?,The keeper.,2\n")
    suggestion = view["result"]["suggestion"]
    assert suggestion == {"format": "prompt_completion", "columns": {"prompt": "ask", "completion": "reply"}}
    first = view["result"]["first_rows"]
    live = page.post("mapping", **suggestion, rows=first)["examples"]
    assert [one["example"]["completion"][0]["content"] for one in live] == ["A drink.", "The keeper."]
    live = page.post("mapping", **suggestion, rows=[{"ask": "a", "reply": 3}])["examples"]
    assert live[0]["problem"]["column"] == "reply"
    columns = {"prompt": "ask", "completion": "", "system": ""}
    lacking = page.post("mapping", 400, format="prompt_completion", columns=columns, rows=first)
    assert "completion" in lacking["error"]["message"]
    record = page.wait(page.post(f"tasks/{view['id']}/again", **suggestion))["result"]["record"]
    assert record["mapping"]["columns"] == suggestion["columns"]


def test_another_format_of_a_data_set_is_another_data_set(page, dataset):
    mapping = {"format": "text", "columns": {"text": "output"}}
    view = page.wait(page.post(f"{dataset}/again", **mapping))
    record = view["result"]["record"]
    assert (record["format"], record["rows"], record["source_name"]) == ("text", 24, "paste.jsonl")
    assert record["id"] != dataset
    assert page.get(dataset)["record"]["format"] == "alpaca"


def test_what_is_imported_again_must_still_be_known(page):
    assert "not known" in page.get("tasks/0123456789abcdef", 400)["error"]["message"]
    assert "not here any more" in page.post("tasks/0123456789abcdef/again", 400)["error"]["message"]


def test_a_running_import_can_be_cancelled(page):
    text = as_lines(instruction_rows(30_000))
    started = page.post("paste", text=text)
    assert page.post(f"tasks/{started['task']}/cancel") == {"done": "cancel"}
    assert page.wait(started)["state"] == "cancelled"


# --- the operator's folder ---


def test_the_operators_folder_shows_data_and_no_links(page):
    top = page.get("folder")
    assert top["roots"] == ["offered"]
    assert top["folders"] == ["deep"]
    assert [one["name"] for one in top["files"]] == ["rows.jsonl"]
    assert [one["name"] for one in page.get("folder", path="deep")["files"]] == ["gb.csv", "more.jsonl"]
    record = page.wait(page.post("file", root=0, path="deep/more.jsonl"))["result"]["record"]
    assert (record["rows"], record["source_name"]) == (4, "more.jsonl")


@pytest.mark.parametrize(
    "path",
    [
     "../hidden/secret.jsonl", "link.jsonl", "way/secret.jsonl", "/etc/passwd", "deep/../../hidden/secret.jsonl",
     "./rows.jsonl\0", "program.exe", "deep", "", "absent.jsonl", "..", "deep/../rows.jsonl"],
)  # fmt: skip
def test_nothing_outside_the_operators_folder_is_read(page, roots, path):
    assert page.post("file", 400, root=0, path=path)["error"]["hint"]
    with pytest.raises(UserError):
        offered_file((roots / "offered",), 0, path)


def test_a_folder_that_is_not_offered_is_a_sentence(page, roots):
    for root in (1, -1, 99):
        assert "STUDIO_DATA_ROOTS" in page.get("folder", 400, root=root)["error"]["hint"]
    for path in ("..", "way", "rows.jsonl", "/etc", "absent"):
        assert page.get("folder", 400, path=path)["error"]["message"]
    with pytest.raises(UserError, match="No such folder"):
        list_folder((), 0, "")


# --- rows ---


def test_the_table_pages_searches_sorts_and_keeps_to_a_finding(page, dataset, look):
    first = page.get(f"{dataset}/rows", limit=10)
    assert ([row["row"] for row in first["rows"]], first["total"]) == (list(range(1, 11)), 24)
    assert first["columns"] == ["instruction", "input", "output"]
    assert [row["row"] for row in page.get(f"{dataset}/rows", search="question 17")["rows"]] == [18]
    lengths = page.get(f"{dataset}/rows", sort="characters", descending=True)["rows"]
    assert len(lengths[0]["cells"]["output"]) >= len(lengths[-1]["cells"]["output"])
    audited(page, dataset, look)
    only = page.get(f"{dataset}/rows", finding="duplicates", **look)
    assert [row["row"] for row in only["rows"]] == [5, 6]
    assert "no longer found" in page.get(f"{dataset}/rows", 400, finding="leakage", **look)["error"]["message"]
    page.get(f"{dataset}/rows", 422, limit=100_000)
    page.get(f"{dataset}/rows", 422, sort="secret")


def test_a_row_is_shown_as_it_stands_and_as_it_is_trained(page):
    trap = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    told = page.take(
        as_lines([{"prompt": "<b>x</b>", "completion": "y", "more": trap}, {"prompt": "c", "completion": "d"}])
    )
    row = page.get(f"{told['result']['record']['id']}/rows/1")
    assert row["raw"] == {"prompt": "<b>x</b>", "completion": "y", "more": trap}
    assert row["example"]["completion"] == [{"role": "assistant", "content": "y"}]
    assert "no row 99" in page.get(f"{told['result']['record']['id']}/rows/99", 400)["error"]["message"]


def test_rows_are_shown_token_by_token_from_any_row_on(page, dataset, look):
    told = page.get(f"{dataset}/tokens", start=22, count=5, **look)
    assert ([one["row"] for one in told["rows"]], told["total"], told["last"]) == ([22, 23, 24], 24, 24)
    (sequence,) = told["rows"][0]["sequences"]
    assert "".join(text for text, learned in sequence["tokens"] if learned).startswith("the lamp is lit")
    assert sequence["has_end"]
    back = page.get(f"{dataset}/tokens", start=4, count=2, back=True, **look)
    assert [one["row"] for one in back["rows"]] == [2, 3]
    short = page.get(f"{dataset}/tokens", row=7, **{**look, "max_length": 8})["rows"][0]["sequences"][0]
    assert (len(short["tokens"]) > 0, short["cut"] > 0, len(short["lost"]) > 0, short["has_end"]) == (
        True,
        True,
        True,
        False,
    )
    assert page.get(f"{dataset}/neighbours", row=7) == {"rows": [8]}
    assert page.get(f"{dataset}/neighbours", row=1, back=True) == {"rows": []}
    page.get(f"{dataset}/tokens", 422, count=500, **look)


def test_one_row_that_the_template_refuses_does_not_hide_the_others(page, look):
    tool = {"type": "function", "function": {"name": "weather", "arguments": "{}"}}
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [tool]}]},
    ]
    dataset = page.take(as_lines(rows))["result"]["record"]["id"]
    first, second = page.get(f"{dataset}/tokens", **look)["rows"]
    assert first["sequences"]
    assert "no place for tool calls" in second["error"]["message"]
    plain = page.get(f"{dataset}/tokens", **{**look, "template": "plain"})["rows"]
    assert all(one["sequences"] for one in plain)


# --- the audit ---


def test_findings_come_with_rows_words_and_remedies_in_the_users_language(page, dataset, look):
    report = audited(page, dataset, look)
    found = codes(report)
    assert found["duplicates"]["first"] == [5, 6]
    assert found["duplicates"]["what"] == "2 rows repeat an earlier row word for word."
    assert found["placeholders"]["what"].startswith("1 row holds")
    assert found["surrounding_whitespace"]["remedies"] == ["trim", "drop", "keep"]
    assert "rows" not in found["duplicates"], "a million row numbers are not sent"
    chinese = page.who.get(f"/api/datasets/{dataset}/report", params=look, headers={"accept-language": "zh-CN"}).json()
    assert codes(chinese)["duplicates"]["what"] == "2 行与前面的某一行逐字相同。"
    shorter = page.get(f"{dataset}/report", **{**look, "max_length": 8})
    assert codes(shorter)["cut"]["count"] == 24
    assert shorter["tokens"]["covered"] == 0


def test_a_remedy_is_a_step_that_can_be_taken_back(page, dataset, look):
    audited(page, dataset, look)
    current = page.post(f"{dataset}/steps", finding="duplicates", remedy="drop", **look)
    assert current["steps"] == [{"finding": "duplicates", "remedy": "drop", "count": 2}]
    assert (current["rows"], page.get(dataset)["current"]["rows"], page.get(dataset)["record"]["rows"]) == (22, 22, 24)
    report = audited(page, dataset, look)
    assert "duplicates" not in codes(report)
    page.post(f"{dataset}/steps", finding="surrounding_whitespace", remedy="trim", **look)
    told = page.get(f"{dataset}/tokens", row=9, **look)["rows"][0]
    assert (told["changed"], told["dropped"]) == (True, False)
    assert page.get(f"{dataset}/tokens", row=5, **look)["rows"][0]["dropped"]
    assert page.get(f"{dataset}/rows/9")["raw"]["output"] == "  the lamp is lit  ", "the file stays as it is"
    audited(page, dataset, look)
    page.post(f"{dataset}/steps", finding="placeholders", remedy="keep", **look)
    assert codes(audited(page, dataset, look))["placeholders"]["accepted"]
    for left in (2, 1, 0):
        current = page.post(f"{dataset}/steps/0/undo")
        assert len(current["steps"]) == left
    assert current["rows"] == 24
    assert "duplicates" in codes(audited(page, dataset, look))
    assert "no such step" in page.post(f"{dataset}/steps/0/undo", 400)["error"]["message"]


def test_a_remedy_that_does_not_suit_is_refused(page, dataset, look):
    assert (
        "no audit"
        in page.post(f"{dataset}/steps", 400, finding="duplicates", remedy="drop", **look)["error"]["message"]
    )
    audited(page, dataset, look)
    assert (
        "no remedy"
        in page.post(f"{dataset}/steps", 400, finding="duplicates", remedy="trim", **look)["error"]["message"]
    )
    refused = page.post(f"{dataset}/steps", 400, finding="duplicates", remedy="drop", rows="1-3", **look)
    assert "Not all of these rows" in refused["error"]["message"]
    page.post(f"{dataset}/steps", 422, finding="duplicates", remedy="burn", **look)


def test_a_model_that_is_not_here_and_a_length_that_cannot_be_are_sentences(page, dataset, look):
    assert "not on this machine" in page.post(f"{dataset}/audit", 400, model="org/absent")["error"]["message"]
    assert "neither a Hub id nor a folder" in page.post(f"{dataset}/audit", 400, model="a b c")["error"]["message"]
    assert page.get(f"{dataset}/report", 400, **{**look, "max_length": 0})["error"]["hint"]
    assert page.get(f"{dataset}/report", 400, **{**look, "max_length": -5})["error"]["hint"]
    assert page.get(f"{dataset}/tokens", 400, **{**look, "template": "evil"})["error"]["hint"]


# --- downloads and deleting ---


def test_what_is_left_is_downloaded_and_formulas_are_harmless(page, look):
    rows = [
        {"prompt": "=1+1", "completion": "+cmd|' /C calc'!A0"},
        *({"prompt": f"p{i}", "completion": "灯"} for i in range(3)),
    ]
    dataset = page.take(as_lines(rows))["result"]["record"]["id"]
    lines = page.who.get(f"/api/datasets/{dataset}/cleaned.jsonl")
    assert len(lines.text.splitlines()) == 4
    assert json.loads(lines.text.splitlines()[0])["prompt"][0]["content"] == "=1+1"
    assert lines.headers["content-disposition"].startswith("attachment")
    table = page.who.get(f"/api/datasets/{dataset}/cleaned.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert not re.search(r"(?:^|,)\"?[=+@-]", table.text, re.MULTILINE)


def test_a_data_set_that_a_job_needs_is_not_deleted(page, site, dataset):
    from studio.jobs.presets import read_presets
    from studio.jobs.spec import build_spec

    values = read_presets()["lora"].values({"id": dataset, "sha256": ""})
    job = site.studio.store.create(build_spec({**values, "name": "needs it"}))
    refused = page.post(f"{dataset}/delete", 400)["error"]
    assert ("needs it" in refused["message"], page.get(dataset)["record"]["id"]) == (True, dataset)
    site.studio.store.delete(job)
    assert page.post(f"{dataset}/delete") == {"done": "delete"}
    assert "no data set" in page.get(dataset, 400)["error"]["message"]


# --- who asks what ---


@pytest.mark.parametrize("bad", BAD_IDS)
def test_an_id_that_is_none_is_a_sentence_everywhere(page, bad):
    routes = ["", "/rows", "/rows/1", "/tokens", "/report", "/neighbours?row=1", "/cleaned.jsonl", "/cleaned.csv"]
    for route in routes:
        answer = page.who.get(f"/api/datasets/{bad}{route}")
        assert answer.status_code in (400, 404), route
        assert "Traceback" not in answer.text
        assert "root:" not in answer.text
    step = {"finding": "duplicates", "remedy": "drop"}
    for route, body in (("again", {}), ("audit", {}), ("steps", step), ("steps/0/undo", None), ("delete", None)):
        answer = page.who.post(f"/api/datasets/{bad}/{route}", json=body)
        assert answer.status_code in (400, 404), route


def test_what_changes_something_is_never_a_get_and_never_from_another_page(page, dataset):
    for route in ("paste", "hub", "file", "mapping", f"{dataset}/audit", f"{dataset}/steps", f"{dataset}/delete"):
        assert page.who.get(f"/api/datasets/{route}").status_code in (400, 404, 405), route
        foreign = page.who.post(f"/api/datasets/{route}", json={}, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403, route
    assert page.get(dataset)["record"]["rows"] == 24
    assert page.who.post("/api/datasets/paste", json={"text": "a"}, headers={"origin": HERE}).status_code == 200


def test_a_bug_is_an_id_on_the_page_and_a_traceback_in_the_log(page, dataset, monkeypatch, caplog):
    monkeypatch.setattr(Library, "page", lambda *given, **options: {}["/secret/place"])
    told = page.get(f"{dataset}/rows", 500)["error"]
    assert "secret" not in told["message"]
    assert re.search(r"\(error (\w+)\)", told["message"])[1] in caplog.text


def test_the_menus_offer_every_format_in_both_languages(page):
    menus = page.get("menus")
    assert [one["name"] for one in menus["formats"]] == list(FORMATS)
    assert menus["models"][0]["name"] == "starter"
    chinese = page.who.get("/api/datasets/menus", headers={"accept-language": "zh"}).json()
    assert [one["title"] for one in chinese["formats"]] != [one["title"] for one in menus["formats"]]


# --- the tab's events ---


def test_the_page_says_which_data_set_it_means_and_anything_else_is_ignored(studio, instructions, preferences):
    on = DataHandlers(DataRoom(studio))
    assert on.arrive(gr.EventData(None, {"dataset": instructions["id"]})).value == instructions["id"]
    newest = studio.datasets()[0].id
    for data in (None, "x", {}, {"dataset": "../../etc"}, {"dataset": {"path": "/etc/passwd"}}):
        assert on.arrive(gr.EventData(None, data)).value == newest
    shown, button = on.show(instructions["id"])
    assert (shown, button["visible"]) == ({"dataset": instructions["id"]}, True)
    assert on.show(None)[0] == {"empty": True}
    with pytest.raises(UserError, match="not the id"):
        on.show("../../etc")


def test_train_on_this_takes_along_what_was_chosen_and_nothing_else():
    same = gr.skip()
    assert carried({}) == [same, same, same]
    assert carried({"max_length": 320}) == [same, same, 320]
    assert carried({"model": "org/model", "template": "plain", "evil": 1}) == ["org/model", "plain", same]
    for bad in ({"template": "evil"}, {"max_length": -1}):
        with pytest.raises(UserError):
            carried(bad)


# --- words ---


def test_every_finding_has_its_sentences_in_both_languages():
    for code in WORDS:
        for language in ("en", "zh"):
            for key in (f"audit.{code}.what", f"audit.{code}.why", f"finding_{code}"):
                assert words(language)[key]
        braces = [sorted(re.findall(r"(?<!\{)\{(\w+)", words(one)[f"audit.{code}.what"])) for one in ("en", "zh")]
        assert braces[0] == braces[1], code
        assert re.search(r"[\u4e00-\u9fff]", words("zh")[f"audit.{code}.what"])
    for name in NAMES:
        assert words("en")[f"script.{name}"]
    for name in FORMATS:
        assert words("zh")[f"format.{name}"]


def test_one_row_is_told_as_one():
    assert singular("1 rows have an empty answer.") == "1 row has an empty answer."
    assert singular("1 pairs part before the last answer: they do not answer the same prompt.") == (
        "1 pair parts before the last answer: it does not answer the same prompt."
    )
    finding = Finding(code="language_mix", severity="info", count=1, rows="7", figures={"main": "latin"})
    assert told_finding(finding, [], "en")["what"] == "1 row is answered in another script than most (Latin)."
    assert "拉丁文" in told_finding(finding, [], "zh")["what"]


def test_a_reason_is_told_in_the_users_language():
    assert told_reason("the first row has 'a'", "zh") == "首行有 'a'"
    assert told_reason("the first row has 'a'; not used: 'b'", "en") == "the first row has 'a'; not used: 'b'"
    assert told_reason("chosen by hand", "zh") == "手动选择"
    assert told_reason("something new", "zh") == "something new"


def test_spans_are_counted_without_being_written_out():
    assert [count_rows(spans) for spans in ("", "7", "3-5,9", "1-1000000")] == [0, 1, 4, 1_000_000]


def test_every_word_that_the_scripts_say_exists():
    said, templates = set(), set()
    for name in SCRIPTS:
        text = (files.FOLDER / name).read_text(encoding="utf-8")
        said |= set(re.findall(r"""\b(?:word|say)\("([\w./]+)["]""", text))
        templates |= set(re.findall(r"""\b(?:word|say)\(`([\w.]+)\$\{""", text))
    assert len(said) > 120
    assert {key for key in said if key not in words("en")} == set()
    for start in templates:
        assert [key for key in words("en") if key.startswith(start)], start
