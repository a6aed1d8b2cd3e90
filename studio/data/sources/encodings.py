"""Bytes → text: UTF-8, UTF-16/32 that shows itself, or the encoding that the user named. Nothing is guessed."""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from typing import AnyStr, BinaryIO

from studio.data.sources.contract import BLOCK, LONGEST_ROW, Reading, Source, clipped, fail
from studio.errors import UserError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# JSON begins with two ASCII characters, so the NULs among its first bytes say which it is (RFC 4627, section 3).
PATTERNS_OF_NUL: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
JAPANESE = ("cp932", "euc_jp")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]{2}")  # hiragana or katakana, two of them: not by accident
_JSON = re.compile(r"[ \t\r\n]*(\{[ \t\r\n]*\"|\[[ \t\r\n]*\{)")
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
OFFERED = ("gb18030", "big5", "cp932", "cp949", "euc_jp", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1256")
ENCODINGS = (
    ("utf-8", "utf-16", *WIDE[:2], "utf-32", *WIDE[2:], *OFFERED)
    + ("gbk", "gb2312", "big5hkscs", "shift_jis", "shift_jis_2004", "euc_kr", "johab", "koi8-r", "koi8-u")
    + ("mac-roman", "tis-620", "cp437", "cp850", "cp852", "cp866", "cp874", "cp1255", "cp1257", "cp1258")
    + tuple(f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17)))
)
SEARCHED = 256 * 1024**2  # bytes that are tried with each candidate: more would take minutes
INVALID = 0xDC00  # a byte that is no text becomes this surrogate: valid text of a file never decodes to one


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(INVALID + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("studio-mark", _mark_invalid)


def known_encoding(name: str) -> str:
    """Python's name for an encoding that a file may have. Raises UserError: not every codec is one for text."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    if found not in {codecs.lookup(one).name for one in ENCODINGS}:
        known = ", ".join((*OFFERED, "utf-8", "utf-16", "utf-32", *WIDE))
        fail(f"The encoding {clipped(name)} is not offered.", f"Use one of: {known}.")
    return found


def choose_encoding(source: Source, head: bytes, asked: str) -> tuple[str, int]:
    """(encoding, length of the byte order mark). Raises UserError when the mark contradicts what was asked for."""
    mark, marked = next(((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", ""))
    if not asked:
        if not marked:
            marked = _wide_json(head)
        if not marked:
            _refuse_wide(source, head)
        return marked or "utf-8", len(mark)
    encoding = known_encoding(asked)
    if encoding in ("utf-16", "utf-32"):
        encoding = marked if marked.startswith(encoding) else f"{encoding}-le"
    if marked and marked != encoding:
        fail(
            f"{source.name} begins with the byte order mark of {marked.upper()}, so it is not {encoding.upper()}.",
            "Read it without naming an encoding.",
        )
    if encoding == "gb18030" and head.startswith(b"\x84\x31\x95\x33"):
        return encoding, 4
    return encoding, len(mark)


def _wide_json(head: bytes) -> str:
    """The encoding of UTF-16 or UTF-32 without a mark that JSON alone shows; "" for anything else."""
    encoding = PATTERNS_OF_NUL.get(tuple(byte == 0 for byte in head[:4]), "")
    if encoding and _JSON.match(head[:4096].decode(encoding, "replace")):
        return encoding
    return ""


def _settle(reading: Reading, source: Source, head: bytes) -> int:
    """Choose the reading's encoding, and say so when nothing but the text shows it; the byte order mark's length."""
    asked = reading.encoding
    reading.encoding, skipped = choose_encoding(source, head, asked)
    if reading.encoding in WIDE and not asked and not skipped:
        name = reading.encoding.upper()
        message = f"The file has no byte order mark; it was read as {name}, in which alone it is JSON."
        hint = "Save it as UTF-8 when other programs are to read it, too."
        reading.notes.append(reading.problem(0, message, hint, row=0, column=""))
    return skipped


def lines_of(reading: Reading, source: Source) -> Iterator[str]:
    r"""The lines without their ends; \n ends a line, or \r in a file whose beginning has no \n (U+2028 is text).

    A byte that is not valid in the encoding becomes a mark: see `invalid_byte`. Raises SourceError when a line is
    longer than LONGEST_ROW.
    """
    head = source.head(BLOCK)
    skipped = _settle(reading, source, head)
    with source.open_bytes() as stream:
        stream.read(skipped)
        if reading.encoding in WIDE:
            blocks = text_blocks(reading, stream)
            first = head[skipped:].decode(reading.encoding, "replace")
            reading.newline = "\n" if "\n" in first or "\r" not in first else "\r"
            yield from _split(reading, blocks, reading.newline)
            return
        reading.newline = "\n" if b"\n" in head or b"\r" not in head else "\r"
        encoding = reading.encoding
        for line in _split(reading, iter(lambda: stream.read(BLOCK), b""), reading.newline.encode()):
            try:
                text = line.decode(encoding)
                reading.suspicious = False
            except UnicodeDecodeError:
                text = line.decode(encoding, "studio-mark")
                reading.suspicious = True
            yield text


def text_blocks(reading: Reading, stream: BinaryIO) -> Iterator[str]:
    """The text in pieces; what is no text is marked, and from there on the reading is suspicious."""
    decoder = codecs.getincrementaldecoder(reading.encoding)()
    reading.suspicious = False
    block = None
    while block != b"":
        state, block = decoder.getstate(), stream.read(BLOCK)
        try:
            yield decoder.decode(block, final=not block)
        except UnicodeDecodeError:
            reading.suspicious = True
            decoder = codecs.getincrementaldecoder(reading.encoding)("studio-mark")
            decoder.setstate(state)
            yield decoder.decode(block, final=not block)


def text_of_file(reading: Reading, source: Source) -> Iterator[str]:
    """The whole text in pieces, without its byte order mark."""
    skipped = _settle(reading, source, source.head(BLOCK))
    with source.open_bytes() as stream:
        stream.read(skipped)
        yield from text_blocks(reading, stream)


def head_text(source: Source, head: bytes, asked: str) -> str:
    """The beginning of a text, to see what it is. Bytes that are no text are marked."""
    encoding, skipped = choose_encoding(source, head, asked)
    return codecs.getincrementaldecoder(encoding)("studio-mark").decode(head[skipped:])


def invalid_byte(text: str) -> tuple[int, int] | None:
    """(position, byte) of the first byte in a decoded text that is not valid in its encoding."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start, ord(text[error.start]) - INVALID
    return None


def report_invalid(reading: Reading, source: Source, line: int, text: str, column: str = "") -> bool:
    """Report the first byte of a row or cell that is no text; whether there is one."""
    found = invalid_byte(text)
    if found is None:
        return False
    position, byte = found
    name = reading.encoding.upper()
    message = f"Byte {byte:#04x} behind {clipped(text[max(0, position - 20) : position])} is not {name} text."
    reading.report(line, message, encoding_hint(source), column=column)
    return True


def encoding_hint(source: Source) -> str:
    """What to do about bytes that are no text: the encodings that would read the whole file."""
    offered = [encoding for encoding, _ in candidates(source)]
    if not offered:
        return "Save the file as UTF-8 and try again."
    return f"Save the file as UTF-8, or name its encoding: --encoding {offered[0]}" + (
        f" (also possible: {', '.join(offered[1:])})." if offered[1:] else "."
    )


def candidates(source: Source) -> list[tuple[str, str]]:
    """(encoding, up to 80 characters from the first line that is not ASCII) for each that decodes the whole file."""
    head = source.head(4096)
    offered = WIDE if _is_wide(head) else ("utf-8", *OFFERED)
    found = _decoding(source, offered)
    if "utf-8" in found:  # text in another encoding is hardly ever valid UTF-8
        return [("utf-8", found["utf-8"])]
    usual = [(encoding, sample) for encoding, sample in found.items() if all(_is_usual(char) for char in sample)]
    return sorted(usual, key=lambda one: one[0] not in JAPANESE or not _KANA.search(one[1]))


def _decoding(source: Source, offered: tuple[str, ...]) -> dict[str, str]:
    decoders = {name: codecs.getincrementaldecoder(name)() for name in offered}
    samples = dict.fromkeys(offered, "")
    with source.open_bytes() as stream:
        for _ in range(SEARCHED // BLOCK):
            block = stream.read(BLOCK)
            for name, decoder in list(decoders.items()):
                try:
                    samples[name] = _sample(samples[name], decoder.decode(block, final=not block))
                except UnicodeDecodeError:
                    del decoders[name]
            if not block:
                break
    return {name: samples[name] for name in decoders}


def _sample(sample: str, text: str) -> str:
    if sample and not sample.isascii():
        return sample
    start = next((index for index, char in enumerate(text) if not char.isascii()), None)
    if start is None:
        return sample or text[:80]
    start = max(text.rfind("\n", 0, start) + 1, start - 40)
    return text[start : start + 80]


def _is_usual(char: str) -> bool:
    return char in "\t\n\r" or unicodedata.category(char) not in ("Cc", "Co", "Cn", "Cs")


def _is_wide(head: bytes) -> bool:
    """Whether NULs stand at every second place often enough for UTF-16/32, and the bytes are text in one of them."""
    most = max(head[0::2].count(0), head[1::2].count(0))
    often = most > len(head) // 4 or (most > len(head) // 64 and not _is_utf8(head))
    return most > 0 and often and _decodes_wide(head)


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _decodes_wide(head: bytes) -> bool:
    for encoding in WIDE:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        if text and all(_is_usual(char) for char in text):
            return True
    return False


def _refuse_wide(source: Source, head: bytes) -> None:
    if _is_wide(head[:4096]):
        offered = [encoding for encoding, _ in candidates(source)]
        raise UserError(
            f"{source.name} looks like UTF-16 or UTF-32 text, but has no byte order mark that says which.",
            f"Name its encoding: --encoding {' or '.join(offered)}." if offered else "Save the file as UTF-8.",
        )


def _split(reading: Reading, blocks: Iterator[AnyStr], end: AnyStr) -> Iterator[AnyStr]:
    """Pieces → lines, without building a long line more than once."""
    rest: list[AnyStr] = []
    size, count = 0, 0
    for block in blocks:
        parts = block.split(end)
        if len(parts) > 1:
            rest.append(parts[0])
            parts[0] = end[:0].join(rest)
            rest, size = [], 0
            count += len(parts) - 1
        last = parts.pop()
        yield from parts
        rest.append(last)
        size += len(last)
        if size > LONGEST_ROW:
            message = f"The line is longer than {LONGEST_ROW // 1024**2} million characters."
            reading.refuse(count + 1, message, "Split the row.", row=reading.row + 1)
    yield end[:0].join(rest)
