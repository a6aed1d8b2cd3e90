"""The corpus: files that people really upload, and files made to do harm, each with the verdict that is right."""

import copy
import io
import json
import pickle
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.data.files import gz_of, json_lines, parquet_of, sheet_of, xlsx_of, zip_of

CANARY = Path(tempfile.gettempdir()) / "studio-corpus-canary"
Q, A = "What is the lamp?", "A light ü 茶 🙂\tand\u2028more"
ROW = {"instruction": Q, "output": A}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file and what is right to say of it.

    `verdict` ok: accepted, every one of `texts` is found in the examples as it stands. error: refused, naming `row` and
    `column` ("" and 0: the file as a whole; None: not checked). any: whatever is said, nothing breaks.
    """

    name: str
    group: str
    filename: str
    content: bytes | Callable[[], bytes]
    verdict: str = "ok"
    row: int | None = None
    column: str | None = None
    rows: int | None = None
    texts: tuple[str, ...] = ()
    encoding: str = ""

    def write(self, folder: Path) -> Path:
        path = folder / self.filename
        path.write_bytes(self.content if isinstance(self.content, bytes) else self.content())
        return path


def rows(count: int) -> list[dict]:
    return [{"instruction": f"question {number} 茶", "output": f"answer {number}"} for number in range(1, count + 1)]


def bad(name, filename, content, row=0, column=None) -> Case:
    content = content.encode() if isinstance(content, str) else content
    return Case(name=name, group="", filename=filename, content=content, verdict="error", row=row, column=column)


def good(name, filename, content, texts=(), count=None, encoding="") -> Case:
    content = content.encode() if isinstance(content, str) else content
    texts = (texts,) if isinstance(texts, str) else tuple(texts)
    return Case(name=name, group="", filename=filename, content=content, texts=texts, rows=count, encoding=encoding)


def line(row) -> str:
    return json.dumps(row, ensure_ascii=False)


def lines(*found) -> str:
    return "".join((one if isinstance(one, str) else line(one)) + "\n" for one in found)


def encoding() -> Iterator[Case]:
    chinese = {"instruction": "什么是灯塔守护人?", "output": "守护灯光的人。雾中的海鸥与茶。"}
    table = "instruction,output\n" + "问题一,这是一个很长的回答\n问题二,第二个回答\n"
    for name in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        yield good(name, "x.jsonl", json_lines([ROW, chinese], name), (Q, A, chinese["output"]), 2)
    for name, mark in (("utf-16-be", b"\xfe\xff"), ("utf-32-be", b"\0\0\xfe\xff")):
        yield good(name, "x.jsonl", mark + json_lines([ROW], name), (A,))
        yield good(f"{name} csv", "x.csv", mark + table.encode(name), ("这是一个很长的回答",))
    for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        yield good(f"{name} without mark", "x.jsonl", json_lines([ROW, chinese], name), (A, chinese["output"]), 2)
        yield good(f"{name} list without mark", "x.json", json.dumps([ROW], indent=1).encode(name), A, 1)
        yield bad(f"{name} table without mark", "x.csv", table.encode(name))
    broken = json_lines([ROW], "utf-16-le") + '{"instruction": "a", "output": "'.encode("utf-16-le") + b"\0\xdc"
    yield bad("broken utf-16 without mark", "x.jsonl", broken + '"}\n'.encode("utf-16-le"), 2, "output")
    yield bad("gb18030 lines", "x.jsonl", json_lines([chinese], "gb18030"), 1, "instruction")
    yield good("gb18030 named", "x.jsonl", json_lines([chinese], "gb18030"), chinese["output"], encoding="gb18030")
    yield good("utf-16-le named", "x.jsonl", json_lines([ROW], "utf-16-le"), A, encoding="utf-16-le")
    yield bad(
        "cp1252 line",
        "x.jsonl",
        lines(*rows(2)).encode() + '{"instruction":"q","output":"é"}'.encode("cp1252"),
        3,
        "output",
    )
    yield bad("invalid byte", "x.jsonl", lines(ROW).encode() + b'{"instruction":"a","output":"b\xffc"}\n', 2, "output")
    yield bad(
        "invalid byte in list",
        "x.json",
        b'[{"instruction":"a","output":"b"},\n{"instruction":"\xc3","output":"b"}]',
        2,
        "instruction",
    )
    yield bad("overlong", "x.jsonl", b'{"instruction":"a","output":"\xc0\xaf"}\n', 1, "output")
    yield bad("surrogate in utf-8", "x.jsonl", b'{"instruction":"a","output":"\xed\xa0\x80"}\n', 1, "output")
    yield bad("half a pair escaped", "x.jsonl", lines(ROW) + '{"instruction":"a","output":"\\ud83d"}\n', 2, "output")
    yield bad("half a pair in list", "x.json", '[{"instruction":"\\udc00","output":"b"}]', 1, "instruction")
    yield good("whole pair escaped", "x.jsonl", '{"instruction":"a","output":"\\ud83d\\ude42"}\n', "🙂")
    yield bad("raw NUL", "x.jsonl", b'{"instruction":"a","output":"b\0c"}\n', 1, "output")
    yield good("escaped NUL", "x.jsonl", '{"instruction":"a","output":"b\\u0000c"}\n', "b\0c")
    yield bad("raw NUL in csv", "x.csv", b"instruction,output\na,b\nc,d\0e\n", 2, "output")
    yield good("CR only lines", "x.jsonl", json_lines([ROW, *rows(1)], newline="\r"), (A, "answer 1"), 2)
    yield good("CR only csv", "x.csv", 'instruction,output\rq,"a\rb"\r', "a\rb", 1)
    yield good("CRLF", "x.jsonl", json_lines([ROW, *rows(1)], newline="\r\n"), A, 2)
    yield good(
        "line separators are text",
        "x.jsonl",
        lines({"instruction": "a\u2029\x85b", "output": "c\u2028\x0bd"}),
        ("a\u2029\x85b", "c\u2028\x0bd"),
        1,
    )
    yield bad("zero-width only", "x.jsonl", lines({"instruction": "a", "output": "\u200b\u200d\ufeff"}), 1, "output")
    yield good("mark inside text", "x.jsonl", lines({"instruction": "a", "output": "b\ufeffc"}), "b\ufeffc")
    yield bad(
        "joined files with marks",
        "x.jsonl",
        b"\xef\xbb\xbf" + line(ROW).encode() + b"\n\xef\xbb\xbf" + line(ROW).encode(),
        2,
    )
    yield bad("only a mark", "x.jsonl", b"\xef\xbb\xbf")
    yield bad("odd utf-16", "x.jsonl", json_lines([ROW], "utf-16") + b"a", 2)
    yield good(
        "normal forms stay", "x.jsonl", lines({"instruction": "e\u0301 é ﬁ", "output": "Å Å"}), ("e\u0301 é ﬁ", "Å Å")
    )


def json_structure() -> Iterator[Case]:
    deep = "[" * 10_000 + "]" * 10_000
    two = json.dumps(rows(2), ensure_ascii=False)
    yield bad("empty", "x.json", b"")
    yield bad("white space", "x.jsonl", b" \n\t\r\n")
    for text in ("null", "true", "42", '"text"', "[]", "{}", "[[]]", "[1, 2]"):
        yield bad(text, "x.json", text, None)
    yield bad("broken first row", "x.jsonl", "instruction: q\n" + lines(ROW, ROW), 1)
    yield bad(
        "deep, with more behind it", "x.jsonl", f'{{"deep": {deep}, "instruction": "a", "output": "b"}}\n', 1, "deep"
    )
    yield bad("null line", "x.jsonl", lines(ROW, "null"), 2)
    yield good("list", "x.json", two, ("answer 2",), 2)
    yield good("list with indent", "x.json", json.dumps(rows(3), indent=2), ("answer 3",), 3)
    yield good("list in jsonl", "x.jsonl", two, ("question 1 茶",), 2)
    yield good("lines in json", "x.json", lines(*rows(3)), ("answer 3",), 3)
    yield good("ndjson", "x.ndjson", lines(*rows(3)), ("answer 3",), 3)
    yield good("no last line end", "x.jsonl", lines(*rows(2)).rstrip(), ("answer 2",), 2)
    yield good("empty lines", "x.jsonl", "\n" + lines(*rows(1)) + "\n \n" + lines(ROW) + "\n", A, 2)
    yield good("one line", "x.jsonl", line(ROW), A, 1)
    yield bad("one object", "x.json", line(ROW))
    yield good("columns", "x.json", line({"instruction": ["a", "b"], "output": ["c", A]}), A, 2)
    yield good(
        "columns of pandas", "x.json", line({"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": A}}), A, 2
    )
    yield bad("unequal columns", "x.json", line({"instruction": ["a", "b"], "output": ["c"]}), 2, "output")
    yield good("data", "x.json", json.dumps({"data": rows(2)}, indent=1), "answer 2", 2)
    yield good("data and more", "x.json", json.dumps({"data": rows(2), "version": 1, "by": None}), "answer 2", 2)
    yield bad("data and a list more", "x.json", json.dumps({"data": rows(2), "more": [], "version": 1}))
    yield bad("data and an object more", "x.json", json.dumps({"data": rows(2), "info": {"a": 1}}))
    yield bad("data without rows and more", "x.json", json.dumps({"data": ["q", "a"], "version": 1}))
    yield bad("one conversation and more", "x.json", json.dumps({"messages": [{"role": "user"}], "id": 1}))
    yield bad("split orientation", "x.json", line({"columns": ["instruction"], "index": [0], "data": [["a"]]}))
    yield bad("one conversation", "x.json", line({"messages": [{"role": "user", "content": "q"}]}))
    yield bad("pretty lines", "x.jsonl", "\n".join(json.dumps(row, indent=1) for row in rows(2)), 1)
    yield bad("pretty lines in json", "x.json", "\n".join(json.dumps(row, indent=1) for row in rows(2)), 1)
    yield bad("joined objects", "x.json", line(ROW) * 3, 1)
    yield bad("two lists", "x.json", two + "\n" + two, 2)
    yield bad("list of lists", "x.jsonl", '["q", "a"]\n["q", "a"]\n', None)
    yield bad("trailing comma in row", "x.jsonl", lines(ROW) + '{"instruction":"a","output":"b",}\n', 2)
    yield bad("trailing comma in list", "x.json", "[" + line(ROW) + ",]", 1)
    yield bad("comma missing", "x.json", "[" + line(ROW) + "\n" + line(ROW) + "]", 1)
    yield bad("lines with commas", "x.jsonl", line(ROW) + ",\n" + line(ROW) + "\n", 1)
    yield bad("cut-off row", "x.jsonl", lines(*rows(2)) + '{"instruction": "a", "outp', 3)
    yield bad("cut-off text", "x.jsonl", lines(*rows(2)) + '{"instruction": "a", "output": "the', 3, "output")
    yield bad("cut-off list", "x.json", two[:-10], 2, "output")
    yield bad("cut-off in the middle", "x.jsonl", lines(ROW, '{"instruction": "a", "output": "th', ROW), 2, "output")
    yield bad("NaN", "x.jsonl", lines(ROW, '{"instruction": "a", "output": NaN}'), 2, "output")
    yield bad("Infinity in list", "x.json", '[{"instruction": "a", "output": "b", "score": -Infinity}]', 1, "score")
    yield bad("number too large", "x.jsonl", '{"instruction": "a", "output": "b", "n": 1e999}', 1, "n")
    yield bad("5,000 digits", "x.jsonl", f'{{"instruction": "a", "output": "b", "n": {"7" * 5000}}}', 1, "n")
    yield good("id over 2^63", "x.jsonl", f'{{"instruction": "a", "output": "b c", "id": {2**70}}}', "b c")
    yield bad("duplicate key", "x.jsonl", lines(ROW, '{"instruction": "a", "output": "b", "output": "c"}'), 2, "output")
    yield bad(
        "duplicate key inside",
        "x.jsonl",
        '{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
        1,
        "messages",
    )
    yield bad("Python repr", "x.jsonl", lines(ROW, str(ROW)), 2)
    yield bad("Python words", "x.jsonl", '{"instruction": "a", "output": None}\n', 1, "output")
    yield bad("expression", "x.json", f'[__import__("pathlib").Path("{CANARY}").touch()]', None)
    yield bad("comment", "x.jsonl", '{"instruction": "a", // why\n"output": "b"}\n', None)
    yield bad("comment in list", "x.json", '[\n# rows\n{"instruction": "a", "output": "b"}]', 1)
    yield bad("single quotes", "x.json", "[{'instruction': 'a', 'output': 'b'}]", 1)
    yield bad("typographic quotes", "x.jsonl", "{“instruction”: “a”, “output”: “b”}", 1)
    yield bad("raw line break in text", "x.json", '[{"instruction": "a", "output": "b\nc"}]', 1, "output")
    yield bad("raw tab in text", "x.jsonl", '{"instruction": "a", "output": "b\tc"}', 1, "output")
    yield bad("bad escape", "x.jsonl", '{"instruction": "a", "output": "C:\\dir"}', 1, "output")
    yield bad("10k lists", "x.json", deep, None)
    yield bad("100k open lists", "x.json", "[" * 100_000, 1)
    yield bad("100k open objects", "x.json", '[{"a":' * 100_000, None)
    yield bad(
        "10k inside a row", "x.jsonl", lines(ROW, f'{{"instruction": "a", "output": "b", "deep": {deep}}}'), 2, "deep"
    )
    yield bad(
        "500 inside a row", "x.jsonl", f'{{"instruction": "a", "output": "b", "x": {"[" * 500}{"]" * 500}}}', 1, "x"
    )
    yield good(
        "90 inside a row", "x.jsonl", f'{{"instruction": "a", "output": "b c", "x": {"[" * 90}{"]" * 90}}}', "b c"
    )
    yield bad("mixed column late", "x.jsonl", lines(*rows(150), {"instruction": "a", "output": 7}), 151, "output")
    yield bad(
        "several faults, right numbers",
        "x.jsonl",
        lines("{", *rows(2), "{'", {"instruction": "a", "output": None}),
        5,
        "output",
    )


def row_content() -> Iterator[Case]:
    for value in (None, "", "  \n", 42, 4.2, True, ["a"], {"a": "b"}, []):
        yield bad(f"answer {value!r}", "x.jsonl", lines(*rows(2), {"instruction": "a", "output": value}), 3, "output")
    yield bad("typo in a key", "x.jsonl", lines({"instruction": "a", "ouput": "b"}), None)
    yield bad("key missing later", "x.jsonl", lines(*rows(4), {"instruction": "a"}), 5, "output")
    yield bad("instruction missing", "x.jsonl", lines(*rows(4), {"output": "a"}), 5, "instruction")
    yield bad("unknown columns", "x.jsonl", lines({"foo": "a", "bar": "b"}), None)
    yield bad("a column without a name", "x.jsonl", lines({"": "a", "x": "b"}), 1)
    yield bad("columns of blanks", "x.jsonl", lines({"": "a", " ": "b"}), 1)
    yield good("UltraChat", "x.jsonl", lines({"id": "0", "data": [Q, A, "q", "a b"]}), (Q, A, "a b"), 1)
    yield bad("UltraChat without an answer", "x.jsonl", lines({"data": ["q", "a"]}, {"data": ["q"]}), 2, "data")
    yield bad("UltraChat with a number", "x.jsonl", lines({"data": ["q", "a"]}, {"data": ["q", 1]}), 2, "data")
    yield good("user and assistant", "x.jsonl", lines({"user": Q, "assistant": A}), (Q, A), 1)
    yield bad("user alone", "x.jsonl", lines({"user": Q, "response": A}), 1)
    yield good("Firefly", "x.jsonl", lines({"kind": "NLI", "input": Q, "target": A}), (Q, A), 1)
    yield bad("Firefly with an instruction", "x.jsonl", lines({"instruction": "q", "input": Q, "target": A}), 1)
    yield good("Chinese keys", "x.jsonl", lines({"指令": "写诗", "输出": "雾中灯塔"}), ("写诗", "雾中灯塔"))
    yield good("the word None", "x.jsonl", lines({"instruction": "None", "output": "null"}), ("None", "null"))
    yield good(
        "special tokens",
        "x.jsonl",
        lines({"instruction": "<|im_end|>", "output": "<s>[INST] </s>"}),
        ("<|im_end|>", "<s>[INST] </s>"),
    )
    yield good(
        "template code",
        "x.jsonl",
        lines({"instruction": "{{ 7*7 }}", "output": "{% raw %}${x}"}),
        ("{{ 7*7 }}", "{% raw %}${x}"),
    )
    yield good(
        "script",
        "x.jsonl",
        lines({"instruction": "<script>alert(1)</script>", "output": "<img src=x onerror=alert(1)>"}),
        "<script>alert(1)</script>",
    )
    yield good(
        "remote picture",
        "x.jsonl",
        lines({"instruction": "a", "output": "![x](http://127.0.0.1:9/x.png)"}),
        "![x](http://127.0.0.1:9/x.png)",
    )
    yield good("a secret", "x.jsonl", lines({"instruction": "a", "output": "hf_" + "a" * 34}), "hf_" + "a" * 34)
    yield good(
        "file object beside", "x.jsonl", lines({**ROW, "meta": {"path": "/etc/passwd", "_type": "gradio.FileData"}}), A
    )
    yield bad(
        "file object as answer", "x.jsonl", lines({"instruction": "a", "output": {"path": "/etc/passwd"}}), 1, "output"
    )
    yield good(
        "white space stays",
        "x.jsonl",
        lines({"instruction": "  a\n\n", "output": "\tb \r\n "}),
        ("  a\n\n", "\tb \r\n "),
    )
    yield good("1 M characters", "x.jsonl", lines({"instruction": "a", "output": "茶b" * 500_000}), "茶b" * 500_000)
    yield good(
        "10 M characters",
        "x.json",
        "[" + line({"instruction": "a", "output": "bc " * 3_333_333}) + "]",
        "bc " * 3_333_333,
    )
    yield good("20k rows", "x.jsonl", lines(*rows(20_000)), "answer 20000", 20_000)
    yield good("many other columns", "x.jsonl", lines({**ROW, **{f"c{i}": i for i in range(500)}}), A)
    yield good("an empty input", "x.jsonl", lines({"instruction": "a", "input": "", "output": "b c"}), "b c")


def conversation() -> Iterator[Case]:
    def openai(*turns, **more):
        return {"messages": [{"role": role, "content": content} for role, content in turns], **more}

    def sharegpt(*turns, **more):
        return {"conversations": [{"from": role, "value": content} for role, content in turns], **more}

    call = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"at": "Sylt 茶"}'}}
    asked = {"role": "user", "content": "tide?"}
    answered = [
        {"role": "tool", "tool_call_id": "c1", "content": "high 1.2"},
        {"role": "assistant", "content": "It is high."},
    ]
    with_call = [asked, {"role": "assistant", "content": None, "tool_calls": [call]}, *answered]
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}}}]
    ok = openai(("user", "q"), ("assistant", "a b"))
    yield good("messages", "x.jsonl", lines(openai(("system", "s y"), ("user", Q), ("assistant", A))), (Q, A, "s y"))
    yield good(
        "several turns",
        "x.jsonl",
        lines(openai(("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", A))),
        ("a1", A),
    )
    yield good(
        "developer", "x.jsonl", lines(openai(("developer", "be kind"), ("user", "q"), ("assistant", A))), "be kind"
    )
    yield good(
        "content in parts",
        "x.jsonl",
        lines(openai(("user", [{"type": "text", "text": "part one"}]), ("assistant", A))),
        "part one",
    )
    yield good(
        "tool calls", "x.jsonl", lines({"messages": with_call, "tools": tools}), ("high 1.2", "It is high.", "Sylt 茶")
    )
    for role in ("human", "user"):
        for other in ("gpt", "assistant", "chatgpt", "bard", "model"):
            yield good(f"{role} and {other}", "x.jsonl", lines(sharegpt((role, Q), (other, A))), (Q, A))
    yield good(
        "sharegpt system column", "x.jsonl", lines(sharegpt(("human", "q"), ("gpt", A), system="be kind")), "be kind"
    )
    yield good(
        "function call turn",
        "x.jsonl",
        lines(
            sharegpt(
                ("human", "q"),
                ("function_call", '{"name": "tide", "arguments": {"at": "Sylt"}}'),
                ("observation", "high"),
                ("gpt", A),
            )
        ),
        ("Sylt", "high", A),
    )
    faults = {
        "unknown role": openai(("user", "q"), ("robot", "a")),
        "role is null": openai(("user", "q"), (None, "a")),
        "role is a number": openai(("user", "q"), (1, "a")),
        "content null": openai(("user", "q"), ("assistant", None)),
        "content a number": openai(("user", "q"), ("assistant", 3)),
        "content an object": openai(
            ("user", "q"), ("assistant", {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}})
        ),
        "content empty": openai(("user", "q"), ("assistant", " ")),
        "a file in the parts": openai(
            ("user", [{"type": "file", "file": {"path": "/etc/passwd"}}]), ("assistant", "a")
        ),
        "a picture in the parts": openai(
            ("user", [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]), ("assistant", "a")
        ),
        "a local picture": openai(
            ("user", [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]), ("assistant", "a")
        ),
        "no assistant": openai(("system", "s"), ("user", "q")),
        "ends with the user": openai(("user", "q"), ("assistant", "a"), ("user", "q")),
        "system in the middle": openai(("user", "q"), ("system", "s"), ("assistant", "a")),
        "no messages": {"messages": []},
        "messages null": {"messages": None},
        "messages is text": {"messages": "user: q"},
        "messages is an object": {"messages": {"role": "user", "content": "q"}},
        "a message is text": {"messages": ["q", "a"]},
        "a message is null": {"messages": [None, None]},
        "role missing": {"messages": [{"content": "q"}, {"role": "assistant", "content": "a"}]},
        "content missing": {"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]},
        "broken arguments": {
            "messages": [
                asked,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{**call, "function": {"name": "tide", "arguments": '{"at": '}}],
                },
                *answered,
            ]
        },
        "arguments a list": {
            "messages": [
                asked,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{**call, "function": {"name": "tide", "arguments": "[1]"}}],
                },
                *answered,
            ]
        },
        "call without a name": {
            "messages": [
                asked,
                {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {}}]},
                *answered,
            ]
        },
        "result without a call": openai(("user", "q"), ("tool", "r"), ("assistant", "a")),
        "mixed with alpaca": ROW,
        "mixed with sharegpt": sharegpt(("human", "q"), ("gpt", "a")),
    }
    turns = json.dumps(ok["messages"], ensure_ascii=False)
    doubled = turns.replace('"', '""')
    yield good("messages as text", "x.jsonl", lines({"messages": turns}, ok), "a b", 2)
    yield good("messages in a cell", "x.csv", f'messages\n"{doubled}"\n', "a b", 1)
    spelled = json.dumps(sharegpt(("human", Q), ("gpt", A))["conversations"])
    yield good("sharegpt as text", "x.jsonl", lines({"conversations": spelled}), (Q, A), 1)
    for text in ("[]", "[1]", '["q", "a"]', turns[:-1], turns + "]", turns.replace("}", ', "role": "x"}'), "[" * 9999):
        faults[f"messages as text {text[:60]}"] = {"messages": text}
    for name, row in faults.items():
        yield bad(name, "x.jsonl", lines(ok, ok, row), 3, "messages")
    for name, row in {
        "two humans": sharegpt(("human", "q"), ("human", "q"), ("gpt", "a")),
        "gpt first": sharegpt(("gpt", "a"), ("human", "q"), ("gpt", "a")),
        "observation without call": sharegpt(("human", "q"), ("observation", "r"), ("gpt", "a")),
        "value null": sharegpt(("human", "q"), ("gpt", None)),
        "unknown from": sharegpt(("human", "q"), ("alien", "a")),
        "from missing": {"conversations": [{"value": "q"}, {"from": "gpt", "value": "a"}]},
        "ends with human": sharegpt(("human", "q"), ("gpt", "a"), ("human", "q")),
        "only human": sharegpt(("human", "q")),
    }.items():
        yield bad(
            f"sharegpt: {name}", "x.jsonl", lines(sharegpt(("human", "q"), ("gpt", "a")), row), 2, "conversations"
        )


def preference() -> Iterator[Case]:
    pair = {"prompt": Q, "chosen": A, "rejected": "fog and gulls"}
    user, said, other = (
        {"role": "user", "content": Q},
        {"role": "assistant", "content": A},
        {"role": "assistant", "content": "no tea"},
    )
    yield good("text", "x.jsonl", lines(pair), (Q, A, "fog and gulls"))
    yield good(
        "messages", "x.jsonl", lines({"prompt": [user], "chosen": [said], "rejected": [other]}), (Q, A, "no tea")
    )
    yield good(
        "implicit prompt", "x.jsonl", lines({"chosen": [user, said], "rejected": [user, other]}), (Q, A, "no tea")
    )
    yield good(
        "sharegpt pairs",
        "x.jsonl",
        lines(
            {
                "conversations": [{"from": "human", "value": Q}],
                "chosen": {"from": "gpt", "value": A},
                "rejected": {"from": "gpt", "value": "no tea"},
            }
        ),
        (A, "no tea"),
    )
    yield good("question", "x.jsonl", lines({"question": Q, "chosen": A, "rejected": "no tea"}), A)
    for name, row, column in (
        ("identical", {**pair, "rejected": A}, "rejected"),
        ("rejected null", {**pair, "rejected": None}, "rejected"),
        ("chosen empty", {**pair, "chosen": ""}, "chosen"),
        ("chosen a number", {**pair, "chosen": 5}, "chosen"),
        ("prompt null", {**pair, "prompt": None}, "prompt"),
        ("rejected missing", {"prompt": Q, "chosen": A}, "rejected"),
        ("differing prompts", {"chosen": [user, said], "rejected": [{"role": "user", "content": "x"}, other]}, None),
        ("answer of the user", {"prompt": Q, "chosen": [user], "rejected": [other]}, "chosen"),
    ):
        yield bad(name, "x.jsonl", lines(pair, row), 2, column)


def kto() -> Iterator[Case]:
    row = {"prompt": Q, "completion": A}
    yield good("labels", "x.jsonl", lines({**row, "label": True}, {**row, "label": False}), (Q, A))
    yield good(
        "messages",
        "x.jsonl",
        lines({"messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": A}], "label": False}),
        (Q, A),
    )
    yield good(
        "all positive",
        "x.jsonl",
        lines(*[{"prompt": f"q{i}", "completion": "a", "label": True} for i in range(3)]),
        count=3,
    )
    yield good(
        "labels in parquet",
        "x.parquet",
        parquet_of({"prompt": [Q, "q"], "completion": [A, "a"], "label": [True, False]}),
        (Q, A),
    )
    yield good(
        "labels in xlsx",
        "x.xlsx",
        xlsx_of({"s": [["prompt", "completion", "label"], [Q, "tea", True], ["q", "fog", False]]}),
        (Q, "tea"),
    )
    for label in ("true", "false", "True", "1", "yes", "", 0, 1, 1.0, 2, -1, None, [], {}, [True]):
        yield bad(f"label {label!r}", "x.jsonl", lines({**row, "label": True}, {**row, "label": label}), 2, "label")
    for yes, no in (("true", "false"), ("True", "False"), ("TRUE", " FALSE"), ("1", "0")):
        table = f"prompt,completion,label\n{Q},tea,{yes}\nq,fog,{no}\n"
        yield good(f"labels {yes} and {no} in csv", "x.csv", table, (Q, "tea", "fog"), 2)
        yield good(f"labels {yes} and {no} in tsv", "x.tsv", table.replace(",", "\t"), "fog", 2)
    for label in ("yes", "", "2", "1.0", "good"):
        yield bad(f"label {label!r} in csv", "x.csv", f"prompt,completion,label\nq,a,{label}\n", 1, "label")
    yield bad("label missing later", "x.jsonl", lines({**row, "label": True}, row), 2, "label")


def csv() -> Iterator[Case]:
    head = "instruction,output\n"
    yield good("plain", "x.csv", head + "q,a b\n", "a b", 1)
    yield good("quotes", "x.csv", head + '"q, ""q""","line\nbreak, ü茶"\n', ('q, "q"', "line\nbreak, ü茶"), 1)
    yield good("CRLF", "x.csv", (head + 'q,"a\r\nb"\n').replace("\n", "\r\n").replace("\r\r", "\r"), "a\r\nb", 1)
    yield good("mark", "x.csv", b"\xef\xbb\xbf" + (head + "q,a b\n").encode(), "a b")
    yield good("semicolon", "x.csv", "instruction;output\nq, 1;a, b\n", ("q, 1", "a, b"))
    yield good("sep=;", "x.csv", "sep=;\ninstruction;output\nq;a, b\n", "a, b", 1)
    yield good("sep=,", "x.csv", "sep=,\r\ninstruction,output\r\nq,a b\r\n", "a b", 1)
    yield good("tabs in csv", "x.csv", "instruction\toutput\nq, 1\ta, b\n", "a, b")
    yield good("tsv", "x.tsv", "instruction\toutput\nq\ta, b; c\n", "a, b; c")
    yield good("commas in tsv", "x.tsv", "instruction,output\nq,a b\n", "a b")
    for word in (
        "NA",
        "null",
        "None",
        "NaN",
        "1.0",
        "007",
        "true",
        "1e5",
        "2024-01-02",
        "-",
        "=1+1",
        "@SUM(A1)",
        "+1",
        " a ",
    ):
        yield good(f"cell {word}", "x.csv", head + f"q,{word}\n", word, 1)
    yield good("empty input", "x.csv", "instruction,input,output\nq,,a b\n", "a b")
    yield good("empty lines", "x.csv", head + "\nq,a b\n\n", "a b", 1)
    yield good("200k cell", "x.csv", head + "q," + "x茶" * 100_000 + "\n", "x茶" * 100_000)
    yield good("other column", "x.csv", "id,instruction,output\n1,q,a b\n", "a b")
    yield good("Chinese header", "x.csv", "问题,回答\n灯塔?,雾中的灯\n", "雾中的灯")
    yield bad("empty answer", "x.csv", head + "q,a\nq,\n", 2, "output")
    yield bad("unclosed quote", "x.csv", head + "q,a\nq,b\n" + 'q,"c\n' + "q,d\n" * 50, 3)
    yield bad("text behind quote", "x.csv", head + 'q,a\n"q" x,b\n', 2)
    yield bad("too many cells", "x.csv", head + "q,a\nq,b,c\n", 2)
    yield bad("too few cells", "x.csv", head + "q,a\nq\n", 2, "output")
    yield bad("duplicate header", "x.csv", "output,output\na,b\n", 0, "output")
    yield bad("column without a name", "x.csv", ",instruction,output\n0,q,a\n")
    yield bad("header alone", "x.csv", head, None)
    yield bad("no header", "x.csv", "what is tea,a drink\nwhat is fog,a cloud\n", None)
    for name in ("gbk", "gb18030", "shift_jis", "euc_kr", "cp1252", "big5"):
        text = {
            "shift_jis": "灯台の番人です",
            "euc_kr": "등대지기",
            "cp1252": "Gr\xfc\xdfe \x80 5",
            "big5": "燈塔守護人",
        }.get(name, "守护灯光")
        text = text.replace("\x80", "€")
        content = (head + f"q,a\nq,{text}\n").encode(name)
        yield bad(name, "x.csv", content, 2, "output")
        yield good(f"{name} named", "x.csv", content, text, 2, encoding=name)


def xlsx() -> Iterator[Case]:
    head = ["instruction", "output"]
    yield good("inline texts", "x.xlsx", xlsx_of({"s": [head, [Q, "tea\nü 茶 🙂"]]}), (Q, "tea\nü 茶 🙂"), 1)
    yield good(
        "shared texts",
        "x.xlsx",
        xlsx_of({"s": [head, [Q, "tea"], ["q", "fog & <sea>"]]}, use_shared=True),
        "fog & <sea>",
        2,
    )
    yield good(
        "second sheet has the rows", "x.xlsx", xlsx_of({"cover": [], "data": [head, [Q, "on two"]]}), "on two", 1
    )
    yield good(
        "two sheets with rows", "x.xlsx", xlsx_of({"a": [head, [Q, "on one"]], "b": [head, [Q, "on two"]]}), "on one", 1
    )
    yield good("saved formula", "x.xlsx", xlsx_of({"s": [head, [Q, ("f", 'A2&"!"', "saved result")]]}), "saved result")
    yield good("empty rows", "x.xlsx", xlsx_of({"s": [head, [], [Q, "tea one"], [], ["q", "tea two"]]}), "tea two", 2)
    yield good("renamed to csv", "x.csv", xlsx_of({"s": [head, [Q, "tea one"]]}), "tea one")
    yield good("number beside", "x.xlsx", xlsx_of({"s": [["id", *head], [7, Q, "tea one"]]}), "tea one")
    yield good("white space stays", "x.xlsx", xlsx_of({"s": [head, ["  q ", " a\t\n"]]}), ("  q ", " a\t\n"))
    yield good("text that looks like a number", "x.xlsx", xlsx_of({"s": [head, ["007", "=1+1"]]}), ("007", "=1+1"))
    yield bad(
        "formula without result", "x.xlsx", xlsx_of({"s": [head, [Q, "a"], [Q, ("f", "1+1", None)]]}), 2, "output"
    )
    yield bad("number as answer", "x.xlsx", xlsx_of({"s": [head, [Q, "a"], [Q, 42]]}), 2, "output")
    yield bad(
        "error cell", "x.xlsx", xlsx_of({"s": [head, [Q, ("raw", '<c r="B2" t="e"><v>#REF!</v></c>')]]}), 1, "output"
    )
    yield bad("empty answer", "x.xlsx", xlsx_of({"s": [head, [Q, "a"], [Q, None]]}), 2, "output")
    yield bad("cell without a header", "x.xlsx", xlsx_of({"s": [head, [Q, "a", "stray"]]}), 1)
    yield bad("duplicate header", "x.xlsx", xlsx_of({"s": [["output", "output"], ["a", "b"]]}), 0, "output")
    yield bad("number as header", "x.xlsx", xlsx_of({"s": [["instruction", 5], ["a", "b"]]}))
    yield bad("no rows", "x.xlsx", xlsx_of({"s": []}))
    yield bad("header alone", "x.xlsx", xlsx_of({"s": [head]}), None)
    laughs = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    yield bad("billion laughs", "x.xlsx", xlsx_of({"s": laughs + sheet_of([head])}))
    outside = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    yield bad("outside entity", "x.xlsx", xlsx_of({"s": outside + sheet_of([head, [Q, "a"]]).replace(">a<", ">&a;<")}))
    yield Case(name="bomb", group="", filename="x.xlsx", content=_xlsx_bomb, verdict="error", row=0)
    yield bad("cut off", "x.xlsx", xlsx_of({"s": [head, [Q, "a"]]})[:-40])
    yield bad("broken XML", "x.xlsx", xlsx_of({"s": "<worksheet><sheetData><row>"}))
    yield bad("cells out of place", "x.xlsx", xlsx_of({"s": [head, [("raw", '<c r="ZZZZ9" t="n"><v>1</v></c>')]]}))
    yield bad("sheet missing", "x.xlsx", zip_of({"[Content_Types].xml": "<a/>", "xl/x.xml": "<a/>"}))


def _xlsx_bomb() -> bytes:
    return xlsx_of(
        {"s": sheet_of([["instruction", "output"]]).replace("</sheetData>", " " * 150_000_000 + "</sheetData>")}
    )


def parquet() -> Iterator[Case]:
    import pyarrow as pa

    columns = {"instruction": [Q, "q"], "output": [A, "a b"]}
    yield good("plain", "x.parquet", parquet_of(columns), (Q, A, "a b"), 2)
    for compression in ("none", "snappy", "gzip", "zstd"):
        yield good(compression, "x.parquet", parquet_of(columns, compression=compression), A, 2)
    yield good(
        "row groups",
        "x.parquet",
        parquet_of({"text": [f"text {i}" for i in range(5000)]}, row_group_size=700),
        "text 4999",
        5000,
    )
    yield good(
        "nested",
        "x.parquet",
        parquet_of({"messages": [[{"role": "user", "content": Q}, {"role": "assistant", "content": A}]]}),
        (Q, A),
    )
    yield good("large text", "x.parquet", parquet_of(pa.table({"text": pa.array([A], pa.large_string())})), A)
    yield good(
        "categories",
        "x.parquet",
        parquet_of(pa.table({"text": pa.array([A, "b c", A]).dictionary_encode()})),
        (A, "b c"),
        3,
    )
    yield good(
        "other types beside",
        "x.parquet",
        parquet_of(
            {
                **columns,
                "when": [pa.scalar(10**15, pa.timestamp("us")).as_py()] * 2,
                "raw": [b"\xff", b""],
                "n": [1.5, float("nan")],
            }
        ),
        A,
    )
    yield good("NUL in a text", "x.parquet", parquet_of({"text": ["a\0b"]}), "a\0b")
    yield good("nulls in input", "x.parquet", parquet_of({**columns, "input": [None, None]}), A)
    yield good("renamed", "x.jsonl", parquet_of(columns), A)
    yield bad("null answer", "x.parquet", parquet_of({"instruction": [Q, "q"], "output": [A, None]}), 2, "output")
    yield bad("number answer", "x.parquet", parquet_of({"instruction": [Q], "output": [5]}), 1, "output")
    yield bad("binary answer", "x.parquet", parquet_of({"instruction": [Q], "output": [b"text"]}), 1, "output")
    yield bad(
        "date answer",
        "x.parquet",
        parquet_of(pa.table({"instruction": ["q"], "output": pa.array([1], pa.date32())})),
        1,
        "output",
    )
    yield bad("no rows", "x.parquet", parquet_of(pa.table({"text": pa.array([], pa.string())})), None)
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    yield bad("duplicate column", "x.parquet", parquet_of(twice), 0, "text")
    whole = parquet_of(columns)
    yield bad("cut off", "x.parquet", whole[:-5])
    yield bad("cut in half", "x.parquet", whole[: len(whole) // 2])
    yield bad("head alone", "x.parquet", b"PAR1")
    yield bad("2 GB footer", "x.parquet", whole[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1")
    yield bad("footer of zeros", "x.parquet", b"PAR1" + b"\0" * 100 + (50).to_bytes(4, "little") + b"PAR1")
    field = pa.field(
        "text",
        pa.string(),
        metadata={b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": _pickles()[0][1]},
    )
    yield bad("pickle extension", "x.parquet", parquet_of(pa.table({"text": ["a"]}).cast(pa.schema([field]))))
    for kind, size in ((pa.string(), 4), (pa.large_string(), 8)):
        ends = b"".join(end.to_bytes(size, "little") for end in (0, 1, 4))
        not_text = pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(ends), pa.py_buffer(b"ab\xffc")])
        table = pa.table({"id": [1, 2], "text": not_text})
        yield bad(f"{kind} that is not UTF-8", "x.parquet", parquet_of(table), 2, "text")
    texts = pa.ListArray.from_arrays([0, 1, 2], not_text)
    yield bad("list that is not UTF-8", "x.parquet", parquet_of(pa.table({"messages": texts})), 0, "messages")
    yield Case(
        name="20 GB dictionary", group="", filename="x.parquet", content=_dictionary_bomb, verdict="error", row=0
    )
    for seed in range(10):
        yield Case(name=f"fuzzed {seed}", group="", filename="x.parquet", content=partial(_fuzzed, seed), verdict="any")


def _dictionary_bomb() -> bytes:
    import pyarrow as pa

    big = pa.array(["tea " * 5_000_000])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), big)
    return parquet_of(
        pa.table({"text": column}), dictionary_pagesize_limit=2**30, compression="zstd", write_statistics=False
    )


def _fuzzed(seed: int) -> bytes:
    chance = random.Random(seed)
    content = bytearray(
        parquet_of({"instruction": [f"q {i}" for i in range(50)], "output": [A] * 50}, write_page_checksum=True)
    )
    for _ in range(1 + seed * 3):
        content[chance.randrange(4, len(content))] = chance.randrange(256)
    return bytes(content)


def txt() -> Iterator[Case]:
    story = "# The lamp\n\nIt is lit.\n\n---\n\n\fü 茶\u2028\n  end \n"
    yield good("text", "x.txt", story, story, 1)
    yield good("markdown", "x.md", "---\ntitle: lamp\n---\n" + story, story, 1)
    yield good("CRLF", "x.txt", story.replace("\n", "\r\n"), story.replace("\n", "\r\n"), 1)
    yield good(
        "several documents", "x.txt", "one\n<|endoftext|>\ntwo three\n<|endoftext|>\n", ("one\n", "two three\n"), 2
    )
    yield good("utf-16", "x.txt", story.encode("utf-16"), story, 1)
    yield good("lines in txt", "x.txt", lines(*rows(3)), "answer 3", 3)
    yield good("looks like csv", "x.txt", "a,b\n1,2\n", "a,b\n1,2\n", 1)
    yield bad("empty", "x.txt", b"")
    yield bad("zero-width only", "x.txt", "\u200b\u200b\n", None)
    yield bad("binary", "x.txt", bytes(range(256)) * 20, None)
    yield bad("binary without high bytes", "x.txt", b"abc\0\1\2" * 100, 1, "text")
    yield bad("latin-1", "x.txt", "Grüße".encode("latin-1"), 1, "text")
    yield good("latin-1 named", "x.txt", "Grüße".encode("latin-1"), "Grüße", 1, encoding="cp1252")


class _Touch:
    def __reduce__(self):
        return Path.touch, (CANARY,)


def _pickles() -> list[tuple[str, bytes]]:
    return [
        ("protocol 0", f"cposix\nsystem\n(S'touch {CANARY}'\ntR.".encode()),
        ("a list in protocol 0", b"(lp0\nS'a'\np1\na."),
        *((f"protocol {number}", pickle.dumps(_Touch(), number)) for number in (2, 3, 4, 5)),
    ]


def wrong_kind() -> Iterator[Case]:
    login = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head><body><form></form></body></html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n"
    for suffix in ("jsonl", "json", "csv", "txt", "parquet"):
        yield bad(f"login page as {suffix}", f"x.{suffix}", login)
        yield bad(f"LFS pointer as {suffix}", f"x.{suffix}", pointer)
    for name, content in _pickles():
        yield bad(f"pickle of {name}", "x.json", content)
        yield bad(f"pickle of {name} as text", "x.txt", content)
        yield bad(f"pickle of {name} named", "x.pkl", content)
    for name, content in {
        "png": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        "jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 50,
        "pdf": b"%PDF-1.7\n%\xe2\xe3\n",
        "npy": b"\x93NUMPY\x01\0v\0{'descr': '|O'}",
        "elf": b"\x7fELF\x02\x01" + b"\0" * 50,
        "exe": b"MZ\x90\0" + b"\0" * 50,
        "sqlite": b"SQLite format 3\0" + b"\0" * 50,
        "safetensors": (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}',
        "gguf": b"GGUF\3\0\0\0" + b"\0" * 50,
        "arrow": b"ARROW1\0\0" + b"\xff" * 50,
        "xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 50,
        "rtf": b"{\\rtf1\\ansi text}",
        "docx": zip_of({"[Content_Types].xml": "<a/>", "word/document.xml": "<a/>"}),
        "torch": zip_of({"archive/data.pkl": _pickles()[2][1]}),
        "npz": zip_of({"a.npy": b"\x93NUMPY"}),
    }.items():
        yield bad(name, "x.jsonl", content)
    yield bad("yaml", "x.yaml", f"!!python/object/apply:os.system ['touch {CANARY}']\n")
    yield bad("yaml in json", "x.json", f"- !!python/object/apply:os.system ['touch {CANARY}']\n")
    yield bad("loading script", "x.py", f"open({str(CANARY)!r}, 'w')\n")
    yield bad("csv in jsonl", "x.jsonl", "instruction,output\nq,a\n")
    yield bad("jsonl in parquet", "x.parquet", lines(ROW) * 3, None)
    yield bad("no ending", "x", "some text\n")
    yield good("no ending, certain", "x", lines(ROW), A)
    yield good("jsonl in csv", "x.csv", lines(ROW, ROW), A, 2)


def archive() -> Iterator[Case]:
    content = json_lines([ROW, *rows(1)])
    table = b"instruction,output\nq,in a table\n"
    yield good("gz", "x.jsonl.gz", gz_of(content), A, 2)
    yield good("csv gz", "x.csv.gz", gz_of(table), "in a table", 1)
    yield good("gz named jsonl", "x.jsonl", gz_of(content), A, 2)
    yield good("parquet gz", "x.parquet.gz", gz_of(parquet_of({"text": [A]})), A)
    yield good("two gz in a row", "x.jsonl.gz", gz_of(content) + gz_of(content), A, 4)
    yield good("zip", "x.zip", zip_of({"x.jsonl": content}), A, 2)
    yield good("zip in a folder", "x.zip", zip_of({"data/": b"", "data/x.json": json.dumps([ROW])}), A, 1)
    yield good(
        "zip of several", "x.zip", zip_of({"b.jsonl": json_lines(rows(2)), "a.jsonl": content}), (A, "answer 2"), 4
    )
    yield good(
        "zip from a Mac",
        "x.zip",
        zip_of({"x.jsonl": content, "__MACOSX/._x.jsonl": b"\0\5\x16\7", ".DS_Store": b"\0\0"}),
        A,
        2,
    )
    yield good("zip of xlsx", "x.zip", zip_of({"x.xlsx": xlsx_of({"s": [["text"], ["in a sheet"]]})}), "in a sheet", 1)
    yield good("zip of parquet", "x.zip", zip_of({"x.parquet": parquet_of({"text": [A]})}), A, 1)
    yield good("stored", "x.zip", zip_of({"x.jsonl": content}, zipfile.ZIP_STORED), A, 2)
    yield bad(
        "bad row in the second file",
        "x.zip",
        zip_of({"a.jsonl": content, "b.jsonl": b'{"instruction": "q", "output": null}\n'}),
        3,
        "output",
    )
    for name in ("../x.jsonl", "/tmp/x.jsonl", "a/../../x.jsonl", "..\\x.jsonl", "C:\\x.jsonl", "\\\\host\\x.jsonl"):
        yield bad(f"name {name}", "x.zip", zip_of({name: content}))
    link = zipfile.ZipInfo("x.jsonl")
    link.external_attr = 0o120777 << 16
    yield bad("link", "x.zip", zip_of([(link, b"/etc/passwd")]))
    device = zipfile.ZipInfo("x.jsonl")
    device.external_attr = 0o020666 << 16
    yield bad("device", "x.zip", zip_of([(device, b"")]))
    yield bad("encrypted", "x.zip", _encrypted(content))
    yield bad("zip in zip", "x.zip", zip_of({"x.zip": zip_of({"x.jsonl": content})}))
    yield bad("gz in zip", "x.zip", zip_of({"x.jsonl.gz": gz_of(content)}))
    yield bad("gz of gz", "x.jsonl.gz", gz_of(gz_of(content)))
    yield bad("zip in gz", "x.zip.gz", gz_of(zip_of({"x.jsonl": content})))
    yield good("zip with a readme", "x.zip", zip_of({"README.md": b"# a", "LICENSE": b"b", "x.jsonl": content}), A, 2)
    yield bad("two kinds", "x.zip", zip_of({"x.jsonl": content, "x.csv": table}))
    yield bad("one useless file", "x.zip", zip_of({"x.png": b"\x89PNG\r\n"}))
    yield bad("empty zip", "x.zip", zip_of({}))
    yield bad("only hidden files", "x.zip", zip_of({".x.jsonl": content}))
    yield bad("cut-off zip", "x.zip", zip_of({"x.jsonl": content})[:-30])
    yield bad("cut-off gz", "x.jsonl.gz", gz_of(json_lines(rows(2000)))[:-100])
    yield bad("damaged zip", "x.zip", _damaged(content))
    yield bad("overlapping", "x.zip", _overlapping(content))
    yield Case(name="zip bomb", group="", filename="x.zip", content=_zip_bomb, verdict="error", row=0)
    yield Case(name="gz bomb", group="", filename="x.jsonl.gz", content=_gz_bomb, verdict="error", row=0)
    for name, head in {
        "bz2": b"BZh91AY&SY",
        "xz": b"\xfd7zXZ\0\0",
        "7z": b"7z\xbc\xaf\x27\x1c\0",
        "rar": b"Rar!\x1a\x07\x01",
        "zst": b"\x28\xb5\x2f\xfd",
    }.items():
        yield bad(name, f"x.jsonl.{name}", head + b"\0" * 50)
    tar = b"x.jsonl".ljust(257, b"\0") + b"ustar\x0000" + b"\0" * 500
    yield bad("tar", "x.tar", tar)
    yield bad("tar.gz", "x.tar.gz", gz_of(tar))


def _encrypted(content: bytes) -> bytes:
    packed = bytearray(zip_of({"x.jsonl": content}))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


def _damaged(content: bytes) -> bytes:
    packed = bytearray(zip_of({"x.jsonl": content}))
    packed[60] ^= 0xFF
    return bytes(packed)


def _overlapping(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jsonl", content)
        again = copy.copy(packed.filelist[0])
        again.filename = "b.jsonl"
        packed.filelist.append(again)
    return buffer.getvalue()


def _zip_bomb() -> bytes:
    return zip_of({"x.jsonl": b'{"text": "' + b"a" * 150_000_000 + b'"}'})


def _gz_bomb() -> bytes:
    return gz_of(b'{"text": "aaaaaaaa"}\n' * 8_000_000)


def filename() -> Iterator[Case]:
    content = json_lines([ROW])
    for name in (
        f"$(touch {CANARY.name}).jsonl",
        f"`touch {CANARY.name}`.jsonl",
        f"; touch {CANARY.name} #.jsonl",
        "| cat.jsonl",
        "-rf.jsonl",
        "--help.jsonl",
        "<img src=x onerror=alert(1)>.jsonl",
        "{{7*7}}.jsonl",
        "{% for x in y %}.jsonl",
        "%s%n%d.jsonl",
        "a\nb.jsonl",
        "a\tb.jsonl",
        "\u202egnp.jsonl",
        "\u200b.jsonl",
        "数据 集.jsonl",
        "🙂.jsonl",
        "a b  c.jsonl",
        "'quoted'.jsonl",
        '"quoted".jsonl',
        "...jsonl",
        "a..b.jsonl",
        "~root.jsonl",
        "CON.jsonl",
        "UPPER.JSONL",
        "x" * 240 + ".jsonl",
        "x.jsonl ",
        "x.jsonl.bak",
        ".jsonl",
        "C:\\x.jsonl",
        "%2e%2e%2fx.jsonl",
        "not utf-8 \udcff.jsonl",
    ):
        yield good(ascii(name)[:40], name, content, A, 1)


GROUPS = (
    encoding,
    json_structure,
    row_content,
    conversation,
    preference,
    kto,
    csv,
    xlsx,
    parquet,
    txt,
    wrong_kind,
    archive,
    filename,
)


def all_cases() -> list[Case]:
    found = []
    for group in GROUPS:
        for case in group():
            found.append(Case(**{**vars(case), "group": group.__name__}))
    return found
