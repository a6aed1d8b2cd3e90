"""What a file is, by its content first and its name second; what is no data is refused by its right name."""

import re

from studio.data.sources import json_file
from studio.data.sources.contract import Source, SourceReader, clipped, fail
from studio.data.sources.delimited import read_delimited
from studio.data.sources.encodings import head_text
from studio.data.sources.json_file import read_json
from studio.data.sources.json_lines import read_json_lines
from studio.data.sources.parquet import read_parquet
from studio.data.sources.plain_text import read_plain_text
from studio.data.sources.xlsx import read_xlsx

HEAD = 64 * 1024  # bytes that are looked at
TEXT_READERS: dict[str, SourceReader] = {
    ".json": read_json,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_plain_text,
    ".md": read_plain_text,
    ".markdown": read_plain_text,
}
BINARY_READERS: dict[str, SourceReader] = {".parquet": read_parquet, ".xlsx": read_xlsx}
ZIP, GZIP, PARQUET = b"PK\x03\x04", b"\x1f\x8b", b"PAR1"
PACKED = (
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"MSCF", "a CAB archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"PK\x07\x08", "a zip archive in several parts"),
)
SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or password-protected Office file (.xls, .doc)"),
    (b"\x7fELF", "a Linux program"),
    (b"\xca\xfe\xba\xbe", "a Java or macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\0asm", "a WebAssembly program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"GGUF", "a GGUF model"),
    (b"RIFF", "a sound, video or WebP file"),
    (b"OggS", "an Ogg sound file"),
    (b"ID3", "an MP3 sound file"),
    (b"fLaC", "a FLAC sound file"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer: the real file was not downloaded"),
    (b"\x80\x02", "a pickle, which could run code"),
    (b"\x80\x03", "a pickle, which could run code"),
    (b"\x80\x04", "a pickle, which could run code"),
    (b"\x80\x05", "a pickle, which could run code"),
)
PATTERNS = (
    (re.compile(rb"\0+\Z"), "full of NUL bytes, as a copy that failed leaves them"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video or picture"),
    (re.compile(rb"MZ.{0,200}\0", re.DOTALL), "a Windows program"),
    (re.compile(rb".{4}\0{4}\{\s*\"", re.DOTALL), "a model's weights (safetensors)"),
    (
        re.compile(rb"c[A-Za-z_][\w.]*\n\w+\n[(pqtRN0-9]|\(?[dl]?p\d+\n|\((?:dp?|lp?)\d+\n|\(i\w+\n\w+\n"),
        "a pickle, which could run code",
    ),
)
# Endings that promise something else: rows under such a name are a mistake that is better told than guessed away.
OTHERS = (
    ".doc", ".docx", ".odt", ".rtf", ".pdf", ".ppt", ".pptx", ".xls", ".ods", ".html", ".htm", ".xml", ".yaml", ".yml",
    ".py", ".ipynb", ".js", ".sh", ".exe", ".dll", ".so", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".mp3", ".mp4",
    ".bin", ".pt", ".pth", ".pkl", ".npy", ".safetensors", ".gguf", ".sqlite", ".db",
)  # fmt: skip
CHOOSE = "Choose a file with rows: JSON Lines, CSV, Parquet …"
_HTML = re.compile(r"\A\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


def refuse_foreign(source: Source, head: bytes) -> None:
    """Raise UserError when the first bytes are those of something that holds no rows."""
    for sign, what in PACKED:
        if head.startswith(sign) and (sign != b"BZh" or head[3:4].isdigit()):
            fail(f"{source.name} is {what}, which is not read here.", "Unpack it, or pack it as zip or gz.")
    if head[257:262] == b"ustar":
        fail(f"{source.name} is a tar archive, which is not read here.", "Unpack it, or pack it as zip or gz.")
    for sign, what in SIGNATURES:
        if head.startswith(sign) and _is_binary(sign, head):
            hint = "Fetch it with: git lfs pull." if "LFS" in what else CHOOSE
            fail(f"{source.name} is {what}.", hint)
    for pattern, what in PATTERNS:
        if pattern.match(head):
            fail(f"{source.name} is {what}.", CHOOSE)


def text_reader(source: Source, head: bytes, asked: str) -> SourceReader:
    """The reader of a text file. Raises UserError when it holds no rows, or cannot be told."""
    if not head:
        fail(f"{source.name} is empty.", "Choose a file with at least one row.")
    start = head_text(source, head, asked)
    if not start.strip() and len(head) < HEAD:
        fail(f"{source.name} is empty.", "Choose a file with at least one row.")
    if _HTML.match(start):
        told = "Often it is a login or error page that was saved instead of the file: download it again."
        fail(f"{source.name} is a web page (HTML).", told)
    reader = TEXT_READERS.get(source.suffix)
    if source.suffix not in OTHERS and reader is not read_json and json_file.is_certain(start):
        return read_json
    if reader is None:
        ending = clipped(source.suffix) if source.suffix else "a file without an ending"
        fail(
            f"{source.name}: {ending} is not read here.",
            f"Save it as one of {', '.join(sorted({*TEXT_READERS, *BINARY_READERS}))}, or gz or zip of these.",
        )
    if reader is read_json and start.lstrip()[:1] not in ("[", "{"):
        if json_file.has_row(start):  # only its first lines are broken, and they will be named
            return read_json_lines
        _refuse_not_json(source, start.lstrip())
    return reader


def _refuse_not_json(source: Source, start: str) -> None:
    first = start.split("\n", 1)[0].strip()
    if re.fullmatch(r"null|true|false|-?\d+(\.\d+)?|\".*\"", first) and first == start.strip():
        fail(f"{source.name} holds {clipped(first, 20)} alone, not rows.", "Write [ {…}, {…} ].")
    if "," in first or "\t" in first or ";" in first:
        hint = "If it is CSV or TSV, give it that ending. JSON begins with [ or {."
        fail(f"{source.name} is not JSON: it begins with {clipped(first, 40)}.", hint)
    fail(f"{source.name} is not JSON: it begins with {clipped(first, 40)}.", "Write [ {…}, {…} ], or one {…} a line.")


def _is_binary(sign: bytes, head: bytes) -> bool:
    """Whether a signature of letters alone is no accident: a text may well begin with ORC or RIFF."""
    return not sign.isalnum() or len(sign) > 6 or b"\0" in head[:64] or not head[:256].isascii()
