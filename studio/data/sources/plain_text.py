"""Text and Markdown: a file is one row, or several where lines of <|endoftext|> part its documents.

Blank lines, form feeds and rules (---) part nothing: they are the author's text, and stay in it.
"""

from studio.data.sources.contract import LONGEST_ROW, Reading, Rows, Source, clipped
from studio.data.sources.encodings import report_invalid, text_of_file

SEPARATOR = "<|endoftext|>"


def read_plain_text(reading: Reading, source: Source) -> Rows:
    """{"text": …} for each document, the text unchanged."""
    reading.kind = "Text"
    rest, line = "", 1
    for piece in text_of_file(reading, source):
        rest += piece
        documents = _documents(rest)
        for document in documents[:-1]:
            yield from _row(reading, source, line, document)
            line += document.count("\n") + 1
        rest = documents[-1]
        if len(rest) > LONGEST_ROW:
            message = f"The text is longer than {LONGEST_ROW // 1024**2} million characters."
            reading.refuse(line, message, f"Part it with lines of {SEPARATOR}.", row=reading.row + 1)
    for document in _documents(rest + "\n" if rest.endswith(SEPARATOR) else rest):
        yield from _row(reading, source, line, document)
        line += document.count("\n") + 1


def _documents(text: str) -> list[str]:
    """`text` parted at lines that are the separator and nothing else; the last part may go on."""
    parts: list[str] = []
    begin = search = 0
    while (at := text.find(SEPARATOR, search)) >= 0:
        search = at + len(SEPARATOR)
        behind = text[search : search + 2]
        length = 1 if behind[:1] == "\n" else 2 if behind == "\r\n" else 0
        if length and (at == begin or text[at - 1] == "\n"):
            parts.append(text[begin:at])
            begin = search = search + length
    return [*parts, text[begin:]]


def _row(reading: Reading, source: Source, line: int, document: str) -> Rows:
    if not document.strip():
        return
    reading.row += 1
    if (at := document.find("\0")) >= 0:
        place = line + document.count("\n", 0, at)
        message = f"A NUL byte stands behind {clipped(document[max(0, at - 20) : at])}: this is not text."
        reading.report(place, message, "Save the file as plain text.", column="text")
    elif not report_invalid(reading, source, line, document, "text"):
        yield line, {"text": document}
