"""Results in words or as JSON."""

import json
import textwrap
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
WIDTH = 100


def show(value: Any, as_json: bool, words: Callable[[], str]) -> None:
    """Print `value` as JSON, or what `words` makes of it."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1) if as_json else words())


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows under a header; the last column is wrapped."""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns[:-1])]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for row in [list(columns), *cells]:
        start = "".join(cell.ljust(width + 2) for cell, width in zip(row, widths, strict=False))
        wrapped = textwrap.wrap(row[-1], max(30, WIDTH - indent)) or [""]
        lines.append((start + wrapped[0]).rstrip())
        lines += [" " * indent + rest for rest in wrapped[1:]]
    return "\n".join(lines)


def facts(rows: Sequence[tuple[str, Any]]) -> str:
    """One fact a line; those that are empty are left out."""
    return "\n".join(f"{name:16} {value}" for name, value in rows if value not in (None, ""))


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: 9 s, 4 min, 1 h 20 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
