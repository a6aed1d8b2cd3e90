"""Rows page by page, decisions that can be taken back, long work that can be watched and cancelled."""

import csv
import errno
import io
import json
import threading

import httpx2
import pytest

from studio.data import desk as desk_module
from studio.data import hub_rows
from studio.data.audit.contract import Finding
from studio.data.dataset import verified_examples
from studio.data.desk import Desk
from studio.data.isolation import import_file
from studio.data.library import Library
from studio.errors import UserError
from tests.conftest import instruction_rows, write_rows

ROWS = [
    *instruction_rows(6),
    {"instruction": "  padded  ", "input": "", "output": " the lamp "},
    {"instruction": '=cmd|"x"!A1', "input": "", "output": 'a "quoted", long\nanswer with 灯塔 in it'},
    instruction_rows(1)[0],
]


@pytest.fixture
def library(workspace):
    return Library(workspace)


@pytest.fixture
def dataset(workspace, tmp_path):
    return import_file(write_rows(tmp_path / "rows.jsonl", ROWS), workspace).record.id


def numbers(page):
    return [row["row"] for row in page["rows"]]


def report_of(workspace, dataset, model):
    desk = Desk(workspace)
    task = desk.start_audit(dataset, base_model="x", model_folder=model, max_length=64)
    view = desk.wait(task, 60)
    assert view["state"] == "done", view
    return view["result"]


def finding(report, code):
    return Finding(**next(one for one in report["findings"] if one["code"] == code))


def test_pages_are_sorted_searched_and_narrowed(library, dataset):
    page = library.page(dataset, offset=2, limit=3)
    assert (page["total"], page["of"], numbers(page)) == (9, 9, [3, 4, 5])
    assert page["columns"] == ["instruction", "input", "output"]
    assert numbers(library.page(dataset, search="灯塔")) == [8]
    assert numbers(library.page(dataset, search='"quoted", long\nanswer')) == [8]
    assert numbers(library.page(dataset, search="question 0")) == [1, 9]
    assert numbers(library.page(dataset, search="question 0", descending=True)) == [9, 1]
    assert numbers(library.page(dataset, search="nowhere")) == []
    assert numbers(library.page(dataset, only="2-3,8")) == [2, 3, 8]
    assert numbers(library.page(dataset, only="1-3", search="question 1")) == [2]
    lengths = [len(json.dumps(ROWS[number - 1])) for number in numbers(library.page(dataset, sort="characters"))]
    assert lengths[0] == min(lengths)
    assert lengths[-1] == max(lengths)
    assert numbers(library.page(dataset, offset=100)) == []


def test_a_row_is_shown_as_in_the_file_and_as_it_is_trained(library, dataset):
    row = library.row(dataset, 7)
    assert row["raw"] == ROWS[6]
    assert row["example"]["completion"] == [{"role": "assistant", "content": " the lamp "}]
    assert not row["changed"]
    assert not row["dropped"]
    with pytest.raises(UserError, match="no row 10"):
        library.row(dataset, 10)


def test_bad_rows_left_out_keep_the_numbers_of_the_others(library, workspace, tmp_path):
    rows = instruction_rows(4)
    rows[1]["output"] = ""
    record = import_file(write_rows(tmp_path / "x.jsonl", rows), workspace, drop_bad_rows=True).record
    assert numbers(library.page(record.id)) == [1, 3, 4]
    assert library.row(record.id, 3)["raw"] == rows[2]
    with pytest.raises(UserError):
        library.row(record.id, 2)
    assert library.numbers(record.id, offset=1, limit=5) == [3, 4]


def test_steps_change_what_is_trained_and_are_taken_back(library, workspace, dataset, tiny_model):
    folder = workspace.dataset(dataset)
    upload = (folder / "source" / "0.jsonl").read_bytes()
    first = library.current(dataset)
    report = report_of(workspace, dataset, tiny_model)
    after = library.apply(dataset, finding(report, "duplicates"), "drop")
    assert after["rows"] == 8
    assert after["sha256"] != first["sha256"]
    assert library.row(dataset, 9)["dropped"]
    assert 9 not in library.numbers(dataset, offset=0, limit=50)
    trimmed = library.apply(dataset, finding(report, "surrounding_whitespace"), "trim")
    assert library.row(dataset, 7)["example"]["completion"][0]["content"] == "the lamp"
    assert library.row(dataset, 7)["changed"]
    assert library.row(dataset, 7)["raw"] == ROWS[6]
    assert [step["remedy"] for step in trimmed["steps"]] == ["drop", "trim"]
    # A job that was made in between goes on learning what it was made with.
    assert len(verified_examples(folder, first["sha256"])) == 9
    assert len(verified_examples(folder, after["sha256"])) == 8
    assert "  padded  " in str(verified_examples(folder, after["sha256"]))
    assert "  padded  " not in str(verified_examples(folder, trimmed["sha256"]))
    back = library.undo(dataset, 0)
    assert back["rows"] == 9
    assert library.undo(dataset, 0)["sha256"] == first["sha256"]
    assert (folder / "source" / "0.jsonl").read_bytes() == upload
    with pytest.raises(UserError, match="no such step"):
        library.undo(dataset, 0)


def test_a_step_that_leaves_nothing_is_refused_and_changes_nothing(library, dataset):
    everything = Finding(code="duplicates", severity="warning", count=9, rows="1-9", remedies=("drop",))
    before = library.current(dataset)
    with pytest.raises(UserError, match="no row at all"):
        library.apply(dataset, everything, "drop")
    assert library.current(dataset) == before


def test_an_audit_is_kept_until_something_changes(library, workspace, dataset, tiny_model):
    desk = Desk(workspace)
    with pytest.raises(UserError, match="no audit"):
        desk.recount(dataset, "x", tiny_model, "model", 32)
    report = report_of(workspace, dataset, tiny_model)
    shorter = desk.recount(dataset, "x", tiny_model, "model", 16)
    assert shorter["tokens"]["kept"] < report["tokens"]["kept"]
    assert finding(shorter, "cut").count > 0
    library.apply(dataset, finding(report, "duplicates"), "drop")
    with pytest.raises(UserError, match="no audit"):
        desk.recount(dataset, "x", tiny_model, "model", 32)
    again = report_of(workspace, dataset, tiny_model)
    assert again["rows"] == 8
    assert "duplicates" not in [one["code"] for one in again["findings"]]


def test_downloads_hold_the_cleaned_set_and_no_formula(library, workspace, dataset, tiny_model):
    library.apply(dataset, finding(report_of(workspace, dataset, tiny_model), "duplicates"), "drop")
    examples = [json.loads(line) for line in library.jsonl(dataset)]
    assert examples == verified_examples(workspace.dataset(dataset), library.current(dataset)["sha256"])
    assert len(examples) == 8
    raw = import_file(
        write_rows(workspace.root / "f.jsonl", [{"text": "=1+1"}, {"text": "+x"}, {"text": "ok"}]), workspace
    )
    table = list(csv.reader(io.StringIO(b"".join(library.csv(raw.record.id)).decode())))
    assert table == [["text"], ["'=1+1"], ["'+x"], ["ok"]]
    assert b'"text":"=1+1"' in b"".join(library.jsonl(raw.record.id))


@pytest.mark.parametrize("bad", ["../x", "a/b", "", "/etc", "x" * 90])
def test_ids_are_checked(library, bad):
    for call in (library.record, library.current, library.page, library.delete):
        with pytest.raises(UserError):
            call(bad)
    with pytest.raises(UserError):
        library.row(bad, 1)


def test_an_import_on_the_desk_tells_its_verdict(workspace, tmp_path):
    desk = Desk(workspace)
    good = desk.wait(desk.start_import([write_rows(tmp_path / "a.jsonl", instruction_rows(5))]), 60)
    assert good["state"] == "done"
    assert good["result"]["record"]["rows"] == 5
    assert good["progress"] == 1
    bad = desk.wait(desk.start_import([write_rows(tmp_path / "b.jsonl", [{"foo": 1}])]), 60)
    assert bad["result"]["record"] is None
    assert bad["result"]["errors"]
    with pytest.raises(UserError, match="not known"):
        desk.view("nothing")
    with pytest.raises(UserError, match="not known"):
        desk.cancel("nothing")


def test_a_cancelled_import_leaves_nothing(workspace, tmp_path):
    desk = Desk(workspace)
    task = desk.start_import([write_rows(tmp_path / "a.jsonl", instruction_rows(50_000))])
    desk.cancel(task)
    assert desk.wait(task, 60)["state"] == "cancelled"
    assert list(workspace.datasets.iterdir()) == []


def test_a_bug_on_the_desk_is_an_id_and_no_traceback(workspace, tmp_path, monkeypatch, caplog):
    def broken(*unused, **options):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(desk_module, "import_file", broken)
    desk = Desk(workspace)
    view = desk.wait(desk.start_import([tmp_path / "x.jsonl"]), 60)
    assert view["state"] == "failed"
    assert "secret" not in json.dumps(view)
    assert view["error"]["message"].rpartition("error ")[2][:8] in caplog.text


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (("no-slash", "", "train", 10), "id of a data set"),
        (("a/b", "../x", "train", 10), "subset"),
        (("a/b", "", "train[5]", 10), "split"),
        (("a/b", "", "../x", 10), "split"),
        (("a/b", "", "train[5:5]", 10), "no row"),
        (("a/b", "", "train", 0), "0 rows"),
    ],
)
def test_what_cannot_be_asked_of_the_hub_is_a_sentence(request_, named):
    with pytest.raises(UserError, match=named):
        hub_rows.check_request(*request_)


@pytest.mark.parametrize(
    ("split", "slice_"),
    [
        ("train", ("train", 0, None)),
        ("test[:5]", ("test", 0, 5)),
        ("a-b[10:20]", ("a-b", 10, 20)),
        ("x[7:]", ("x", 7, None)),
    ],
)
def test_a_split_may_be_a_slice(split, slice_):
    hub_rows.check_request("a/b", "", split, 10)
    assert hub_rows.slice_of(split) == slice_


def test_hub_rows_are_written_as_they_come(tmp_path):
    rows = iter([{"text": "灯"}, {"text": "b"}, {"text": "c"}])
    told = []
    assert hub_rows.write_rows(tmp_path / "x.jsonl", rows, 2, lambda share, known: told.append(share)) == 2
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()] == [
        {"text": "灯"},
        {"text": "b"},
    ]
    assert next(rows) == {"text": "c"}, "no more is fetched than was asked for"
    with pytest.raises(UserError, match="Row 1"):
        hub_rows.write_rows(tmp_path / "y.jsonl", iter([{"image": object()}]), 2, lambda *unused: None)


@pytest.mark.parametrize(("broken", "told"), [("connection", "does not answer"), ("disk", "No space left")])
def test_a_connection_that_breaks_in_the_middle_is_a_sentence_and_a_full_disk_another(
    monkeypatch, tmp_path, broken, told
):
    def rows(*unused, **named):
        yield {"text": "one"}
        if broken == "disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        httpx2.get("http://127.0.0.1:9")

    monkeypatch.setattr(hub_rows, "check_hub_answers", lambda hub_id: None)
    monkeypatch.setattr("datasets.load_dataset", rows)
    with pytest.raises(UserError if broken == "connection" else OSError, match=told):
        hub_rows.fetch_rows(
            tmp_path / "x.jsonl", hub_id="a/b", subset="", split="train", limit=9, tell=lambda share, known: None
        )


@pytest.mark.slow
def test_no_network_is_a_sentence_for_the_hub_too(workspace, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    desk = Desk(workspace)
    view = desk.wait(desk.start_hub_import("some/dataset", workspace.new_upload("rows.jsonl")), 120)
    assert view["state"] == "failed"
    assert "some/dataset" in view["error"]["message"]
    assert list(workspace.datasets.iterdir()) == []


def test_the_library_is_shared_between_threads(library, dataset):
    pages = []
    threads = [threading.Thread(target=lambda: pages.append(library.page(dataset)["total"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pages == [9] * 8
