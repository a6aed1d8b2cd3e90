"""Files people really have: read whole and unchanged, or refused with the place named."""

import io
import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.data.cells import kind_of
from studio.data.sources import (
    ENCODINGS,
    READERS,
    SUFFIXES,
    RowReader,
    SourceError,
    candidate_encodings,
    encodings,
    json_file,
)
from studio.errors import UserError
from tests.data.files import gz_of, json_lines, parquet_of, xlsx_of, zip_of


def read(path, **options):
    reader = RowReader(**options)
    return list(reader.read(path)), reader


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = [{"instruction": "a", "output": "b\u2028c"}, {"instruction": "数据", "output": "ü\x00"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_json_lines_in_every_encoding_that_can_be_told(tmp_path, encoding, newline):
    rows, reader = read(write(tmp_path, "x.jsonl", json_lines(ROWS, encoding, newline)))
    assert rows == [(1, ROWS[0]), (2, ROWS[1])]
    assert reader.kind == "JSON Lines"
    assert reader.encoding.startswith(encoding[:5])
    assert (reader.row, reader.progress) == (2, 1.0)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list_knows_its_lines(tmp_path, indent):
    rows, reader = read(write(tmp_path, "x.json", "\n" + json.dumps(ROWS, indent=indent)))
    assert [row for _, row in rows] == ROWS
    assert [line for line, _ in rows] == ([2, 2] if indent is None else [3, 7])
    assert reader.kind == "JSON"


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, 2], "b": ["x", None]},
        {"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": None}},
        {"data": [{"a": 1, "b": "x"}, {"a": 2, "b": None}]},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_the_other_ways_to_write_rows_in_one_object(tmp_path, content, indent):
    rows, _ = read(write(tmp_path, "x.json", json.dumps(content, indent=indent)))
    assert [row for _, row in rows] == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_every_broken_line_is_told_and_the_others_are_read(tmp_path):
    content = '{"a":1}\n{"a":\n\n[1]\n{"a":2,"a":3}\n{"a":NaN}\n{"a":4}\n'
    rows, reader = read(write(tmp_path, "x.jsonl", content))
    assert [row["a"] for _, row in rows] == [1, 4]
    assert [(problem.row, problem.line) for problem in reader.problems] == [(2, 2), (3, 4), (4, 5), (5, 6)]
    assert [problem.column for problem in reader.problems] == ["a", "", "a", "a"]
    assert all(problem.message and problem.hint for problem in reader.problems)
    assert reader.bad_rows == [2, 3, 4, 5]
    assert reader.row == 6


@pytest.mark.parametrize(
    ("name", "content", "place", "named"),
    [
        ("x.json", '[\n{"a":1},\n{"a":2},\n\n\n\n{"a" 3}]', (3, 7), "not valid JSON"),
        ("x.json", '[{"a":1}\n{"a":2}]', (1, 2), "comma or ]"),
        ("x.json", '[{"a":1},', (2, 1), "cut off"),
        ("x.json", '[{"a":1}] {"b":2}', (1, 1), "Behind the list"),
        ("x.json", "[" * 100_000, (1, 1), "nested"),
        ("x.json", '[{"a":' + "[" * 50_000, (1, 1), "nested"),
        ("x.jsonl", '{\n "a": 1\n}\n{\n "a": 2\n}\n', (1, 1), "several lines"),
        ("x.csv", 'a,b\n1,2\n"1,2\n3,4\n', (2, 3), "never closed"),
        ("x.csv", 'a,b\n"1"x,2\n', (1, 2), "behind a closing"),
        ("x.csv", 'a,b\n"1,2', (1, 2), "never closed"),
    ],
)
def test_a_place_behind_which_nothing_can_be_read_is_named(tmp_path, name, content, place, named):
    with pytest.raises(SourceError) as caught:
        read(write(tmp_path, name, content))
    assert (caught.value.problem.row, caught.value.problem.line) == place
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("x.json", "[]", "list is empty"),
        ("x.json", "null", "'null'"),
        ("x.json", '{"a": 1}', "one JSON object"),
        ("x.jsonl", "", "empty"),
        ("x.jsonl", " \n\t\n", "empty"),
        ("x.jsonl", "<html>\n" * 500, "web page"),
        ("x.jsonl", "a,b\n1,2\n", "not JSON"),
        ("x.pdf", "%PDF", "a PDF document"),
        ("x.pdf", "text", ".pdf"),
        ("x", "text", "without an ending"),
        ("x.csv", "a,a\n1,2\n", "twice"),
        ("x.csv", "a,,c\n1,2,3\n", "Column 2"),
        ("x.parquet", "a,b\n", "no parquet"),
    ],
)
def test_a_file_of_no_use_is_refused_in_a_sentence(tmp_path, name, content, named):
    with pytest.raises(UserError, match=".") as caught:
        read(write(tmp_path, name, content))
    assert named in caught.value.message
    assert caught.value.hint


def test_after_a_hundred_bad_rows_reading_stops_unless_they_are_to_be_left_out(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"a": 1}\n' + "{'a'}\n" * 500 + '{"a": 2}\n')
    with pytest.raises(SourceError, match="More than 100 rows") as caught:
        read(path)
    assert caught.value.problem.row == 2
    rows, reader = read(path, keep_going=True)
    assert [row["a"] for _, row in rows] == [1, 2]
    assert len(reader.problems) == 100
    assert reader.bad_rows == list(range(2, 502))


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


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.csv", "a;b\n1;2\n", "CSV"),
        ("x.tsv", "a\tb\n1\t2\n", "TSV"),
        ("x.csv", "a\tb\n1\t2\n", "TSV"),
        ("x.tsv", "a,b\n1,2\n", "CSV"),
        ("x.csv", "sep=;\na;b\n1;2\n", "CSV"),
    ],
)
def test_other_separators(tmp_path, name, content, kind):
    rows, reader = read(write(tmp_path, name, content))
    assert [row for _, row in rows] == [{"a": "1", "b": "2"}]
    assert rows[0][0] == content.count("\n")
    assert reader.kind == kind


def test_a_long_cell_is_kept_whole(tmp_path):
    rows, _ = read(write(tmp_path, "x.csv", "a,b\n" + "x" * 300_000 + ",y\n"))
    assert len(rows[0][1]["a"]) == 300_000


def test_a_byte_that_is_no_text_is_named_with_what_the_file_may_be(tmp_path):
    path = write(tmp_path, "x.csv", "id,text\n1,tea\n2,守护灯光的人在雾中\n".encode("gb18030"))
    rows, reader = read(path)
    assert [row["text"] for _, row in rows] == ["tea"]
    [problem] = reader.problems
    assert (problem.row, problem.line, problem.column) == (2, 3, "text")
    assert "0xca" in problem.message
    assert "--encoding gb18030" in problem.hint
    offered = dict(candidate_encodings(path))
    assert offered["gb18030"] == "2,守护灯光的人在雾中\n"
    assert "utf-8" not in offered
    rows, reader = read(path, encoding="GBK")
    assert rows[1] == (3, {"id": "2", "text": "守护灯光的人在雾中"})
    assert not reader.problems


@pytest.mark.parametrize("pack", [lambda content: content, gz_of, lambda content: zip_of({"x.csv": content})])
def test_candidates_are_found_in_archives_and_utf_8_is_the_only_one_when_it_fits(tmp_path, pack):
    assert candidate_encodings(write(tmp_path, "a.csv", pack("a,b\n1,ü\n".encode()))) == [("utf-8", "1,ü\n")]
    offered = candidate_encodings(write(tmp_path, "b.csv", pack("a,b\n1,Grüße aus Köln\n".encode("cp1252"))))
    assert ("cp1252", "1,Grüße aus Köln\n") in offered


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_json_shows_which_wide_encoding_it_is(tmp_path, encoding, name):
    rows = [{"指": "数据"}, *ROWS] if name == "x.json" else ROWS
    text = json.dumps(rows, indent=1, ensure_ascii=False) if name == "x.json" else json_lines(rows).decode()
    found, reader = read(write(tmp_path, name, text.encode(encoding)))
    assert [row for _, row in found] == rows
    assert reader.encoding == encoding
    [note] = reader.notes
    assert encoding.upper() in note.message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_a_mark_is_offered_and_never_guessed(tmp_path, encoding):
    path = write(tmp_path, "x.csv", ("a,b\n" + "1,数据\n" * 20).encode(encoding))
    with pytest.raises(UserError, match="no byte order mark") as caught:
        read(path)
    assert encoding in caught.value.hint
    assert len(read(path, encoding=encoding)[0]) == 20
    brace = write(tmp_path, "x.txt", ("[see below]\n" + "text " * 20).encode(encoding))
    with pytest.raises(UserError, match="no byte order mark"):
        read(brace)
    assert encoding in dict(candidate_encodings(path))


def test_japanese_is_offered_first_where_its_syllables_show_it(tmp_path):
    path = write(tmp_path, "x.csv", "a,b\n1,質問です\n".encode("cp932"))
    assert candidate_encodings(path)[0] == ("cp932", "1,質問です\n")
    chinese = write(tmp_path, "y.csv", "a,b\n1,守护灯光的人\n".encode("gb18030"))
    assert candidate_encodings(chinese)[0][0] == "gb18030"


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("x.jsonl", '{"a": 1},\n{"a": 2}\n', "A comma follows the row", "Delete it"),
        ("x.jsonl", '{"a": 1},{"a": 2}\n', "Several rows", "one object a line"),
        ("x.csv", "a,b\n1\n", "1 cells, the header 2", "Add the missing cells: a comma"),
        ("x.tsv", "a\tb\n1\n", "1 cells, the header 2", "a tab before each"),
        ("x.csv", "a,b\n1,2,3\n", "3 cells, the header 2", "quotation marks"),
    ],
)
def test_a_mistake_is_told_in_its_own_words(tmp_path, name, content, message, hint):
    _, reader = read(write(tmp_path, name, content))
    assert message in reader.problems[0].message
    assert hint in reader.problems[0].hint


@pytest.mark.parametrize("pack", [lambda content: content, gz_of, lambda content: zip_of({"x.jsonl": content})])
def test_nul_bytes_alone_are_named(tmp_path, pack):
    with pytest.raises(UserError, match="full of NUL bytes"):
        read(write(tmp_path, "x.jsonl", pack(b"\0" * 100_000)))


def test_what_stands_beside_the_rows_is_named(tmp_path):
    rows, reader = read(write(tmp_path, "x.json", json.dumps({"version": "1", "data": [{"a": "b"}], "n": None})))
    assert rows == [(0, {"a": "b"})]
    [note] = reader.notes
    assert "'version', 'n'" in note.message


@pytest.mark.parametrize("aside", ["README.md", "data/readme", "LICENSE", "LICENSE.txt", "notes.md"])
def test_what_tells_about_the_data_is_left_out_of_an_archive_and_named(tmp_path, aside):
    rows, reader = read(write(tmp_path, "x.zip", zip_of({aside: b"about", "x.csv": b"a\nb\n"})))
    assert [row for _, row in rows] == [{"a": "b"}]
    [note] = reader.notes
    assert aside in note.message


def test_texts_in_an_archive_are_all_read_whatever_they_are_called(tmp_path):
    for members in ({"README.md": b"one"}, {"README.md": b"one", "a.md": b"two"}, {"README.md": b"a", "x.txt": b"b"}):
        rows, reader = read(write(tmp_path, "x.zip", zip_of(members)))
        assert len(rows) == len(members)
        assert not reader.notes


def test_the_encoding_of_the_data_is_looked_for_in_an_archive_with_a_readme(tmp_path):
    table = "a,b\n1,Grüße aus Köln\n".encode("cp1252")
    path = write(tmp_path, "x.zip", zip_of({"README.md": b"about", "x.csv": table}))
    assert ("cp1252", "1,Grüße aus Köln\n") in candidate_encodings(path)


def test_an_encoding_is_used_strictly(tmp_path):
    path = write(tmp_path, "x.csv", b"a\n\xef\xbb\xbf\n")
    assert read(path, encoding="cp1252")[0][0][1] == {"a": "ï»¿"}
    marked = write(tmp_path, "y.csv", b"\xef\xbb\xbfa\nb\n")
    with pytest.raises(UserError, match="byte order mark of UTF-8"):
        read(marked, encoding="gb18030")
    for name in ("rot13", "zlib", "unicode_escape", "utf-7", "punycode", "idna", "no such", "\0"):
        with pytest.raises(UserError, match="not offered") as caught:
            read(path, encoding=name)
        assert all(name in caught.value.hint for name in ("gb18030", "utf-16-le", "utf-32-be"))
    for name in ENCODINGS:
        encodings.known_encoding(name)


def test_a_workbook_keeps_its_types_and_says_which_sheet_was_read(tmp_path):
    table = [["text", "n", "ok"], ["007", 7, True], [" a\n", 1.5, False], ["", None, None]]
    path = write(tmp_path, "x.xlsx", xlsx_of({"empty": [], "data": table, "more": [["x"]]}))
    rows, reader = read(path)
    assert rows == [
        (2, {"text": "007", "n": 7, "ok": True}),
        (3, {"text": " a\n", "n": 1.5, "ok": False}),
        (4, {"text": "", "n": None, "ok": None}),
    ]
    assert reader.kind == "Excel"
    assert "'data'" in reader.notes[0].message
    assert "'more'" in reader.notes[0].message


def test_a_date_in_a_workbook_is_called_one(tmp_path):
    codes = {164: "dd/mm/yy", 165: "0 &quot;days&quot;"}
    formats = "".join(f'<numFmt numFmtId="{number}" formatCode="{code}"/>' for number, code in codes.items())
    styles = "".join(f'<xf numFmtId="{number}"/>' for number in (0, 14, 164, 165))
    sheet = f'<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs>{styles}</cellXfs>'
    cells = [("raw", f'<c r="{column}2" s="{style}"><v>45000</v></c>') for style, column in enumerate("ABCD")]
    styled = f"<styleSheet><numFmts>{formats}</numFmts>{sheet}</styleSheet>"
    content = xlsx_of({"s": [["a", "b", "c", "d"], cells]}, extra={"xl/styles.xml": styled})
    [(_, row)], _ = read(write(tmp_path, "x.xlsx", content))
    assert [kind_of(value) for value in row.values()] == ["a number", "a date", "a date", "a number"]
    assert row["b"] == {"date": "45000"}


def test_parquet_keeps_what_json_can_hold_and_names_the_type_of_the_rest(tmp_path):
    import datetime
    import decimal

    columns = {
        "text": ["a", None],
        "turns": [[{"role": "user", "n": 1}], []],
        "when": [datetime.datetime(2024, 1, 2), None],
        "price": [decimal.Decimal("1.10"), None],
        "raw": [b"abc", None],
        "score": [0.5, float("inf")],
    }
    rows, reader = read(write(tmp_path, "x.parquet", parquet_of(columns)))
    assert [row for _, row in rows] == [
        {
            "text": "a",
            "turns": [{"role": "user", "n": 1}],
            "when": {"datetime": "2024-01-02 00:00:00"},
            "price": {"Decimal": "1.10"},
            "raw": {"bytes": 3},
            "score": 0.5,
        },
        {"text": None, "turns": [], "when": None, "price": None, "raw": None, "score": {"float": "inf"}},
    ]
    json.dumps([row for _, row in rows], allow_nan=False)
    named = [kind_of(value) for value in (*rows[0][1].values(), rows[1][1]["score"])]
    assert named[2:5] == ["a date", "a value of the type Decimal", "binary data"]
    assert named[-1] == "no finite number"
    assert reader.progress == 1.0


def test_rows_of_several_files_are_counted_through_and_lines_in_each(tmp_path):
    members = {"b.jsonl": b'{"a": 3}\n{"a": \n{"a": 4}\n', "a.jsonl": b'{"a": 1}\n{"a": 2}\n'}
    rows, reader = read(write(tmp_path, "x.zip", zip_of(members)))
    assert [(line, row["a"]) for line, row in rows] == [(1, 1), (2, 2), (1, 3), (3, 4)]
    assert reader.kind == "JSON Lines (zip)"
    [problem] = reader.problems
    assert (problem.row, problem.line) == (4, 2)
    assert problem.message.startswith("b.jsonl: ")


def test_a_damaged_archive_never_ends_in_silence(tmp_path):
    whole = gz_of(json_lines([{"a": str(number)} for number in range(5000)]))
    for cut in (1, 9, 100, len(whole) // 2, len(whole) - 12):
        with pytest.raises(UserError, match="damaged or cut off"):
            read(write(tmp_path, "x.jsonl.gz", whole[:-cut]))
    with pytest.raises(UserError, match="damaged"):
        read(write(tmp_path, "x.jsonl.gz", whole + b"more"))


def test_the_names_of_the_kinds_are_there_for_the_page():
    assert set(SUFFIXES) == set(READERS)
    assert {".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xlsx", ".txt", ".md", ".gz", ".zip"} <= set(SUFFIXES)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
table = st.lists(st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none(), min_size=1), min_size=1)
text_table = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(st.text("abcde_äß茶", min_size=1, max_size=8), min_size=width, max_size=width, unique=True),
        st.lists(st.lists(texts, min_size=width, max_size=width), min_size=1, max_size=8),
    )
)
written_in = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "gb18030"])


@given(rows=table, lines=st.booleans(), ascii_only=st.booleans(), encoding=written_in)
def test_what_goes_in_as_json_comes_out(tmp_path_factory, rows, lines, ascii_only, encoding):
    path = tmp_path_factory.mktemp("round") / ("x.jsonl" if lines else "x.json")
    if lines:
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    else:
        text = json.dumps(rows, ensure_ascii=ascii_only)
    path.write_bytes(text.encode(encoding))
    found, reader = read(path, encoding=encoding if encoding in ("utf-16-le", "gb18030") else "")
    assert [row for _, row in found] == rows
    assert not reader.problems


@given(
    table=text_table,
    delimiter=st.sampled_from([",", ";", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    encoding=written_in,
)
def test_what_goes_in_as_csv_comes_out(tmp_path_factory, table, delimiter, newline, encoding):
    import csv

    header, cells = table
    cells = [[cell.replace("\0", "") or "x" for cell in row] for row in cells]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows([header, *cells])
    path = tmp_path_factory.mktemp("round") / "x.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    found, reader = read(path, encoding=encoding if encoding in ("utf-16-le", "gb18030") else "")
    assert not reader.problems
    assert [list(row.values()) for _, row in found] == cells
    assert list(found[0][1]) == header


@settings(deadline=None)
@given(table=text_table, shared=st.booleans())
def test_what_goes_in_as_a_workbook_comes_out(tmp_path_factory, table, shared):
    header, cells = table
    path = tmp_path_factory.mktemp("round") / "x.xlsx"
    path.write_bytes(xlsx_of({"s": [header, *cells]}, use_shared=shared))
    found, reader = read(path)
    assert not reader.problems
    assert [list(row.values()) for _, row in found] == cells


@given(table=text_table, group=st.integers(1, 3))
def test_what_goes_in_as_parquet_comes_out(tmp_path_factory, table, group):
    header, cells = table
    columns = {name: list(column) for name, column in zip(header, zip(*cells, strict=True), strict=True)}
    path = tmp_path_factory.mktemp("round") / "x.parquet"
    path.write_bytes(parquet_of(columns, row_group_size=group))
    found, reader = read(path)
    assert not reader.problems
    assert [list(row.values()) for _, row in found] == cells


@given(rows=table, pack=st.sampled_from(["gz", "zip", "stored", "two"]))
def test_what_goes_in_packed_comes_out(tmp_path_factory, rows, pack):
    content = json_lines(rows)
    packed = {
        "gz": lambda: gz_of(content),
        "zip": lambda: zip_of({"x.jsonl": content}),
        "stored": lambda: zip_of({"x.jsonl": content}, zipfile.ZIP_STORED),
        "two": lambda: zip_of({"b.jsonl": content, "a.jsonl": content}),
    }[pack]()
    path = tmp_path_factory.mktemp("round") / f"x.{'jsonl.gz' if pack == 'gz' else 'zip'}"
    path.write_bytes(packed)
    found, reader = read(path)
    assert [row for _, row in found] == rows * (2 if pack == "two" else 1)
    assert not reader.problems


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_what_goes_in_as_text_comes_out(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("round") / "x.txt"
    path.write_bytes(b"A " + text.encode())
    found, _ = read(path)
    assert found == [(1, {"text": f"A {text}"})]


@settings(max_examples=60)
@given(rows=table, indent=st.sampled_from([None, 1]), block=st.integers(1, 40), encoding=written_in)
def test_where_a_block_ends_changes_nothing(tmp_path_factory, rows, indent, block, encoding):
    folder = tmp_path_factory.mktemp("round")
    asked = encoding if encoding in ("utf-16-le", "gb18030") else ""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encodings, "BLOCK", block)
        patched.setattr(json_file, "BLOCK", block)
        text = json.dumps(rows, ensure_ascii=False, indent=indent)
        path = write(folder, "x.json", text.encode(encoding))
        if asked:
            assert [row for _, row in read(path, encoding=asked)[0]] == rows
        path = write(folder, "x.jsonl", json_lines(rows, encoding))
        if asked or encoding == "utf-8":
            assert [row for _, row in read(path, encoding=asked)[0]] == rows


@settings(max_examples=200)
@given(content=st.binary(max_size=400), suffix=st.sampled_from(SUFFIXES))
def test_whatever_bytes_a_file_holds_it_is_read_or_refused(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    path.write_bytes(content)
    try:
        rows, reader = read(path)
    except UserError as error:
        said = (error.message, error.hint)
        assert all(said)
    else:
        json.dumps([row for _, row in rows], ensure_ascii=False, allow_nan=False).encode()
        assert len(rows) + len(reader.bad_rows) == reader.row


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["jsonl", "json", "csv", "xlsx", "zip", "gz"]))
def test_a_changed_byte_breaks_nothing(tmp_path_factory, data, kind):
    rows = [{"text": f"tea {number} 茶", "n": number} for number in range(5)]
    content = bytearray(
        {
            "jsonl": lambda: json_lines(rows),
            "json": lambda: json.dumps(rows).encode(),
            "csv": lambda: b'text,n\n"tea, ""1""",2\nfog,3\n',
            "xlsx": lambda: xlsx_of({"s": [["text"], ["tea"], ["fog"]]}),
            "zip": lambda: zip_of({"x.jsonl": json_lines(rows)}),
            "gz": lambda: gz_of(json_lines(rows)),
        }[kind]()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("any") / f"x.{kind}"
    path.write_bytes(bytes(content))
    try:
        said = [row for _, row in read(path)[0]]
    except UserError as error:
        said = error.message
    json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
