"""Writers of files for the tests: workbooks, archives, Parquet."""

import gzip
import io
import json
import zipfile
from xml.sax.saxutils import escape, quoteattr

TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def json_lines(rows, encoding="utf-8", newline="\n", ascii_only=False) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + newline for row in rows).encode(encoding)


def zip_of(members, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip; `members` maps names (or ZipInfo) to bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return buffer.getvalue()


def gz_of(content: bytes) -> bytes:
    return gzip.compress(content, 6)


def parquet_of(columns, **options) -> bytes:
    """A Parquet file; `columns` is a dict of lists or a pyarrow table."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns) if isinstance(columns, dict) else columns, buffer, **options)
    return buffer.getvalue()


def column_name(index: int) -> str:
    letters, index = "", index + 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def sheet_of(rows, shared=None) -> str:
    """A sheet's XML. A cell is a text, number, bool, None, or ("f", formula, saved result or None), or ("raw", XML)."""
    written = []
    for number, cells in enumerate(rows, start=1):
        inner = "".join(_cell(f"{column_name(i)}{number}", cell, shared) for i, cell in enumerate(cells))
        written.append(f'<row r="{number}">{inner}</row>')
    return f"<worksheet {MAIN}><sheetData>{''.join(written)}</sheetData></worksheet>"


def _cell(reference, value, shared) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple) and value[0] == "raw":
        return value[1]
    if isinstance(value, tuple):
        saved = "" if value[2] is None else f"<v>{escape(str(value[2]))}</v>"
        return f'<c r="{reference}" t="str"><f>{escape(value[1])}</f>{saved}</c>'
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{reference}"><v>{value}</v></c>'
    text = f'<t xml:space="preserve">{xml_text(value)}</t>'
    if shared is None:
        return f'<c r="{reference}" t="inlineStr"><is>{text}</is></c>'
    shared.append(f"<si>{text}</si>")
    return f'<c r="{reference}" t="s"><v>{len(shared) - 1}</v></c>'


def xml_text(text: str) -> str:
    """A text as Excel writes it: what XML cannot hold, and what looks like its escape, as _xHHHH_."""
    import re

    text = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", text)
    text = re.sub(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]", lambda found: f"_x{ord(found.group()):04X}_", text)
    return escape(text)


def xlsx_of(sheets, *, use_shared=False, extra=None) -> bytes:
    """A workbook; `sheets` maps titles to rows (or to a sheet's XML as text)."""
    shared = [] if use_shared else None
    parts = {}
    for number, rows in enumerate(sheets.values(), start=1):
        parts[f"xl/worksheets/sheet{number}.xml"] = rows if isinstance(rows, str) else sheet_of(rows, shared)
    tabs = "".join(
        f'<sheet name={quoteattr(title)} sheetId="{number}" r:id="rId{number}"/>'
        for number, title in enumerate(sheets, start=1)
    )
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    whole = f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    members = {
        "[Content_Types].xml": TYPES,
        "_rels/.rels": RELATIONS.format(whole),
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>{tabs}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": RELATIONS.format(links),
        **parts,
    }
    if shared is not None:
        members["xl/sharedStrings.xml"] = f"<sst {MAIN}>{''.join(shared)}</sst>"
    return zip_of({**members, **(extra or {})})
