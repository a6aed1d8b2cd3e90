"""Files people really have: read whole and unchanged, or refused with the place named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.sources import RowReader
from studio.errors import UserError


def read(path):
    reader = RowReader()
    return list(reader.read(path)), reader


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = [{"instruction": "a", "output": "b\u2028c"}, {"instruction": "数据", "output": "ü\x00"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_json_lines_in_every_encoding_that_can_be_told(tmp_path, encoding, newline):
    text = newline.join(json.dumps(row, ensure_ascii=False) for row in ROWS) + newline
    rows, reader = read(write(tmp_path, "x.jsonl", text.encode(encoding)))
    assert [row for _, row in rows] == ROWS
    assert [line for line, _ in rows] == [1, 2]
    assert reader.kind == "JSON Lines"


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list_knows_its_lines(tmp_path, indent):
    rows, reader = read(write(tmp_path, "x.json", "\n" + json.dumps(ROWS, indent=indent)))
    assert [row for _, row in rows] == ROWS
    assert [line for line, _ in rows] == ([2, 2] if indent is None else [3, 7])
    assert reader.kind == "JSON"


def test_json_lines_in_a_json_file_are_read_as_what_they_are(tmp_path):
    rows, reader = read(write(tmp_path, "x.json", '{"a": 1}\n{"a": 2}\n'))
    assert [row for _, row in rows] == [{"a": 1}, {"a": 2}]
    assert reader.kind == "JSON Lines"


def test_every_broken_line_is_told_and_the_others_are_read(tmp_path):
    rows, reader = read(write(tmp_path, "x.jsonl", '{"a":1}\n{"a":\n\n[1]\n{"a":2,"a":3}\n{"a":NaN}\n{"a":4}\n'))
    assert [row["a"] for _, row in rows] == [1, 4]
    assert [problem.line for problem in reader.problems] == [2, 4, 5, 6]
    assert all(problem.message and problem.hint for problem in reader.problems)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("x.json", '[\n{"a":1},\n{"a":2},\n\n\n\n{"a" 3}]', "Line 7"),
        ("x.json", '[{"a":1}\n{"a":2}]', "Line 2"),
        ("x.json", '[{"a":1},', "Line 1"),
        ("x.json", '[{"a":1}] {"b":2}', "Behind the list"),
        ("x.json", "[]", "list is empty"),
        ("x.json", "null", "'null'"),
        ("x.json", '{"a": 1}', "one JSON object"),
        ("x.json", "[" * 100_000, "Line 1"),
        ("x.json", '[{"a":' + "[" * 50_000, "Line 1"),
        ("x.jsonl", "", "empty"),
        ("x.jsonl", " \n\t\n", "empty"),
        ("x.jsonl", b"\xff\xfe\xfa", "UTF-16"),
        ("x.jsonl", b'{"a":"\xe4"}', "0xe4"),
        ("x.pdf", "%PDF", ".pdf"),
        ("x", "{}", "without an ending"),
        ("x.csv", "a,a\n1,2\n", "twice"),
        ("x.csv", "a,,c\n1,2,3\n", "Column 2"),
        ("x.csv", 'a,b\n"1,2\n', "Line"),
    ],
)
def test_a_file_of_no_use_is_refused_in_a_sentence(tmp_path, name, content, named):
    with pytest.raises(UserError, match=".") as caught:
        read(write(tmp_path, name, content))
    assert named in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_something_else_stops_after_a_hundred_lines(tmp_path):
    with pytest.raises(UserError, match="More than 100 lines"):
        read(write(tmp_path, "x.jsonl", "<html>\n" * 500))


def test_csv_cells_stay_text(tmp_path):
    content = 'instruction,output\n007,NA\n"a, ""b""","line\nbreak"\n=1+1,1.0\n'
    rows, _ = read(write(tmp_path, "x.csv", content))
    assert rows == [
        (2, {"instruction": "007", "output": "NA"}),
        (3, {"instruction": 'a, "b"', "output": "line\nbreak"}),
        (5, {"instruction": "=1+1", "output": "1.0"}),
    ]


def test_a_ragged_csv_row_is_named(tmp_path):
    rows, reader = read(write(tmp_path, "x.csv", "a,b\n1,2\n1,2,3\n1\n3,4\n"))
    assert [row["a"] for _, row in rows] == ["1", "3"]
    assert [(problem.row, problem.line) for problem in reader.problems] == [(2, 3), (3, 4)]


@pytest.mark.parametrize(("name", "content"), [("x.csv", "a;b\n1;2\n"), ("x.tsv", "a\tb\n1\t2\n")])
def test_other_separators(tmp_path, name, content):
    assert read(write(tmp_path, name, content))[0] == [(2, {"a": "1", "b": "2"})]


def test_a_long_cell_is_kept_whole(tmp_path):
    rows, _ = read(write(tmp_path, "x.csv", "a,b\n" + "x" * 300_000 + ",y\n"))
    assert len(rows[0][1]["a"]) == 300_000


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
table = st.lists(st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none(), min_size=1), min_size=1)


@given(rows=table, lines=st.booleans(), ascii_only=st.booleans())
def test_what_goes_in_comes_out(tmp_path_factory, rows, lines, ascii_only):
    path = tmp_path_factory.mktemp("round") / ("x.jsonl" if lines else "x.json")
    if lines:
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    else:
        text = json.dumps(rows, ensure_ascii=ascii_only)
    path.write_bytes(text.encode())
    found, reader = read(path)
    assert [row for _, row in found] == rows
    assert not reader.problems
