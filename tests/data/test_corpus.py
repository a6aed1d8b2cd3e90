"""The corpus: no wrong verdict, the place named, no text changed, nothing executed, nothing broken."""

import json
import os
import time

import pytest

from studio.data import dataset
from studio.data.isolation import import_file
from studio.data.sources import SourceError
from studio.errors import UserError
from tests.data.corpus import CANARY, all_cases

CASES = all_cases()
SLOWEST = 30  # seconds: a hang is an error, a slow machine is not


def judge(case, folder):
    """(verdict, errors, examples as they are kept, as text)."""
    path = case.write(folder)
    kept = folder / "kept"
    kept.mkdir()
    options = {"encoding": case.encoding} if case.encoding else {}
    try:
        verdict = dataset.convert(path, kept, name="x", **options)
    except SourceError as error:
        return "error", [error.problem.to_dict()], []
    except UserError as error:
        return "error", [{"row": 0, "line": 0, "column": "", "message": error.message, "hint": error.hint}], []
    if verdict.record is None:
        return "error", verdict.errors, []
    return "ok", [], dataset.read_examples(kept)


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


JUDGED = [case for case in CASES if case.verdict != "any"]  # the others may end the process that reads them


@pytest.mark.parametrize("case", JUDGED, ids=[f"{case.group}: {case.name}" for case in JUDGED])
def test_the_verdict_is_right(case, tmp_path):
    CANARY.unlink(missing_ok=True)
    started = time.monotonic()
    verdict, errors, examples = judge(case, tmp_path)
    assert time.monotonic() - started < SLOWEST
    assert not CANARY.exists()
    assert not (tmp_path / CANARY.name).exists()
    assert verdict == case.verdict, errors
    if verdict == "error":
        assert all(error["message"] and error["hint"] for error in errors)
        if case.row is not None:
            assert case.row in [error["row"] for error in errors], errors
        if case.column is not None:
            assert (case.row, case.column) in [(error["row"], error["column"]) for error in errors], errors
        json.dumps(errors, ensure_ascii=False).encode()
        return
    found = set(strings(examples))
    for text in case.texts:
        assert any(text in one for one in found), f"{text[:60]!r} is not in the examples"
    if case.rows is not None:
        assert len(examples) == case.rows


def test_there_are_cases_of_every_group_and_their_names_differ():
    names = [(case.group, case.name) for case in CASES]
    assert len(names) == len(set(names)) >= 300
    assert {case.verdict for case in CASES} == {"ok", "error", "any"}


SAMPLED = [case for case in CASES if case.name.startswith("fuzzed")] + [
    case
    for case in CASES
    if f"{case.group}: {case.name}"
    in {
        "json_structure: 100k open lists",
        "json_structure: null",
        "json_structure: cut-off list",
        "encoding: gb18030 lines",
        "csv: unclosed quote",
        "xlsx: bomb",
        "parquet: 20 GB dictionary",
        "parquet: nested",
        "archive: zip bomb",
        "archive: zip of several",
        "wrong_kind: pickle of protocol 4",
        "filename: 'a\\nb.jsonl'",
    }
]


@pytest.mark.child
@pytest.mark.parametrize("case", SAMPLED, ids=[f"{case.group}: {case.name}" for case in SAMPLED])
def test_the_child_process_says_the_same(case, tmp_path, workspace):
    CANARY.unlink(missing_ok=True)
    path = case.write(tmp_path)
    try:
        verdict = import_file(path, workspace)
        said = "ok" if verdict.record else "error"
    except UserError as error:
        said = "error" if error.message else "nothing"
    if case.verdict != "any":
        assert said == case.verdict
    assert not CANARY.exists()
    assert len(list(workspace.datasets.iterdir())) == (said == "ok")


@pytest.mark.parametrize("what", ["folder", "fifo", "device", "missing", "loop"])
def test_what_is_no_file_is_refused(what, tmp_path, workspace):
    path = tmp_path / "x.jsonl"
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "loop":
        path.symlink_to(path)
    verdict = import_file(path, workspace)
    assert verdict.record is None
    assert "x.jsonl" in verdict.errors[0]["message"]
