"""Which format a file is written in, from its first rows; or what is missing, and which name is nearly right."""

from collections import Counter
from collections.abc import Sequence

from studio.data.cells import listed, near_name
from studio.data.examples import Row, RowError
from studio.data.formats import FORMATS, DatasetFormat

ROWS_ASKED = 100


def recognise(rows: Sequence[Row]) -> tuple[DatasetFormat, str]:
    """The format that most of a file's first rows are written in, and the reason in words.

    Most, not the first: so a slip in row 1 is a fault of row 1. Raises RowError, about the first row, when no format
    recognises any of them.
    """
    votes = Counter(name for name in map(_taker, rows[:ROWS_ASKED]) if name)
    if not votes:
        raise _unknown(rows[0])
    chosen = FORMATS[votes.most_common(1)[0][0]]
    return chosen, chosen.reason(next(row for row in rows if chosen.recognises(row)))


def _taker(row: Row) -> str:
    return next((name for name, one in FORMATS.items() if one.recognises(row)), "")


def _unknown(row: Row) -> RowError:
    """What is wrong with a row that no format takes: the format that lacks least, with what it lacks."""
    candidates = []
    for dataset_format in FORMATS.values():
        found = dataset_format.find_columns(row)
        lacking = dataset_format.missing(found)
        if not lacking and not dataset_format.only_if(row, found):
            continue
        unused = [name for name in row if name not in found.values()]
        near = [near_name(name, unused) for name in lacking]
        needed = len(dataset_format.needed(found)) or len(set(found) - set(dataset_format.optional))
        candidates.append((sum(map(bool, near)) + needed - len(lacking), dataset_format, lacking, near))
    score, nearest, lacking, near = max(candidates, key=lambda one: one[0])
    known = len(lacking) < len(nearest.columns) or any(near)
    if not known or not lacking:
        return RowError(
            "",
            f"No known format has the columns {listed(row)}.",
            "Say which column plays which part (column mapping), or rename them, for example to prompt and completion.",
        )
    meant = next(((name, part) for name, part in zip(near, lacking, strict=True) if name), None)
    return RowError(
        lacking[0],
        f"The columns are {listed(row)}; {nearest.title} also needs {listed(lacking)}."
        + (f" Is {meant[0]!r} meant?" if meant else ""),
        f"Rename {meant[0]!r} to {meant[1]!r}." if meant else f"Add or rename the column {listed(lacking)}.",
    )
