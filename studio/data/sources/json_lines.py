"""JSON Lines: one object a line."""

from typing import Any

from studio.data.sources.contract import Reading, Rows, Source, clipped
from studio.data.sources.encodings import invalid_byte, lines_of, report_invalid
from studio.data.sources.json_text import WHITESPACE, Fault, check_row, column_at, explain, needs_check, read_value


def read_json_lines(reading: Reading, source: Source) -> Rows:
    """Empty lines are allowed; every broken line is reported and the others are read."""
    reading.kind = "JSON Lines"
    cut_off: list[tuple[int, str, Fault]] = []  # told when it is known whether the file goes on
    for line, content in enumerate(lines_of(reading, source), start=1):
        if not content or not content.strip(WHITESPACE):
            continue
        while cut_off:
            _report_cut_off(reading, *cut_off.pop(), following=content.lstrip(WHITESPACE))
        reading.row += 1
        value, fault = _read_line(content)
        if reading.suspicious and _told_invalid(reading, source, line, content):
            continue
        if fault is None:
            yield line, value
        elif fault.cut_off:
            cut_off.append((line, content[:200].strip(WHITESPACE), fault))
        else:
            reading.report(line, fault.message, fault.hint, column=fault.column)
    while cut_off:
        _report_cut_off(reading, *cut_off.pop(), following="")


def _read_line(content: str) -> tuple[Any, Fault | None]:
    start = 0 if content[0] == "{" else len(content) - len(content.lstrip(WHITESPACE))
    try:
        value, end = read_value(content, start)
    except (ValueError, RecursionError) as error:
        return None, explain(content, start, error)
    if end != len(content) and (rest := content[end:].strip(WHITESPACE)):
        if rest == ",":
            return None, Fault("A comma follows the row.", "Delete it: in JSON Lines nothing stands between rows.")
        if rest.startswith(("{", ",")):
            return None, Fault("Several rows stand on one line.", "Write one object a line, with nothing between them.")
        return None, Fault(f"Behind the object stands {clipped(rest, 20)}.", "Delete it, or the row.")
    if not isinstance(value, dict):
        return None, Fault(f"{clipped(content.strip(WHITESPACE))} is not an object.", "Each line is written {…}.")
    return value, check_row(value) if needs_check(content, value) else None


def _told_invalid(reading: Reading, source: Source, line: int, content: str) -> bool:
    found = invalid_byte(content)
    if found is None:
        return False
    return report_invalid(reading, source, line, content, column_at(content, 0, found[0]))


def _report_cut_off(reading: Reading, line: int, content: str, fault: Fault, *, following: str) -> None:
    """Tell of a row without its end; `following` is the next line, "" at the end of the file."""
    goes_on = content.endswith(("[", ":")) or (content.endswith(("{", ",")) and not following.startswith("{"))
    if following and goes_on and (reading.row == 1 or content in ("{", "[")):
        message = "The row goes on over several lines; JSON Lines need each row on one line."
        reading.refuse(line, message, "Write it without indent, or all rows as one list: [ {…}, {…} ].")
    message = fault.message if following else "The file ends in the middle of this row."
    reading.report(line, message, fault.hint, column=fault.column)
