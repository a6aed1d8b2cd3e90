"""Column mapping: for a file that no format recognises, the user says which column plays which part."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, model_validator

from studio.data.cells import Warn, ignore, listed, near_name, plain
from studio.data.examples import Example, Row
from studio.data.formats import FORMATS, DatasetFormat, ExampleReader
from studio.errors import UserError

# Names that files give to a part beyond the formats' own: no format may rely on them, but they make a good guess.
GUESSES = {
    "prompt": ("ask", "asked", "source", "src", "user", "human", "title", "input", "task", "message"),
    "completion": ("target", "tgt", "reply", "assistant", "bot", "gpt", "solution", "summary", "output"),
    "chosen": ("good", "preferred", "winner", "accepted"),
    "rejected": ("bad", "dispreferred", "loser", "worse"),
    "label": ("good", "liked", "thumbs_up", "is_good", "desirable"),
    "text": ("body", "document", "passage", "article"),
}
ROWS_LOOKED_AT = 50


class ColumnMapping(BaseModel):
    """A format, and for each of its parts the user's column; saved with the data set.

    `columns` maps part → column. Raises UserError for a format, a part or a set of parts that does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    columns: dict[str, str]

    @model_validator(mode="after")
    def _check(self) -> "ColumnMapping":
        chosen = FORMATS.get(self.format)
        if chosen is None:
            raise UserError(f"There is no format {self.format!r}.", f"Choose one of {', '.join(FORMATS)}.")
        unknown = [part for part in self.columns if part not in chosen.parts]
        if unknown:
            raise UserError(f"{chosen.title} has no part {unknown[0]!r}.", f"Its parts are {', '.join(chosen.parts)}.")
        lacking = chosen.missing(part for part, column in self.columns.items() if column)
        if lacking:
            raise UserError(f"{chosen.title} also needs {listed(lacking)}.", f"Choose the column for {lacking[0]!r}.")
        twice = [column for column in self.columns.values() if list(self.columns.values()).count(column) > 1]
        if twice:
            raise UserError(f"The column {twice[0]!r} is chosen twice.", "Choose a column of its own for each part.")
        return self

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise UserError when the file has no such column."""
        there = list(names)
        for part, column in self.columns.items():
            if column not in there:
                near = near_name(column, there)
                hint = f"Choose {near!r}." if near else f"Choose one of {listed(there)}."
                raise UserError(f"There is no column {column!r} for {part!r}.", hint)

    def reader(self, warn: Warn = ignore) -> ExampleReader:
        """What turns the file's rows into examples."""
        return ExampleReader(FORMATS[self.format], dict(self.columns), warn, fixed=True)

    def to_example(self, row: Row) -> Example:
        """One row's example, for showing what the mapping gives. Raises RowError naming the user's column."""
        return self.reader()(row)

    def reason(self) -> str:
        """The mapping in words."""
        return "mapped by hand: " + ", ".join(f"{part} is {column!r}" for part, column in self.columns.items())


def suggest_mapping(columns: Sequence[str], first_rows: Sequence[Row]) -> ColumnMapping | None:
    """The likeliest mapping of a file's columns, to start the drop-downs with; None when there is nothing to go by.

    A list of turns is a conversation. Else names decide, the more specific format first; else the two columns with
    the longest texts are a prompt and its completion, in the file's order, and a single one is raw text.
    """
    rows = first_rows[:ROWS_LOOKED_AT]
    columns = [name for name in columns if name.strip()]  # a part cannot name a column without a name
    turns = next((name for name in columns if any(_holds_turns(row.get(name)) for row in rows)), None)
    if turns is not None:
        return ColumnMapping(format="sharegpt", columns={"conversations": turns})
    for name in ("preference", "unpaired_preference", "prompt_completion", "text"):
        guessed = _by_names(FORMATS[name], columns)
        if guessed is not None:
            return guessed
    texts = _text_columns(columns, rows)
    if len(texts) >= 2:
        longest = sorted(texts, key=lambda one: texts[one], reverse=True)[:2]
        prompt, completion = sorted(longest, key=columns.index)
        return ColumnMapping(format="prompt_completion", columns={"prompt": prompt, "completion": completion})
    if texts:
        return ColumnMapping(format="text", columns={"text": next(iter(texts))})
    return None


def _by_names(chosen: DatasetFormat, columns: Sequence[str]) -> ColumnMapping | None:
    found: dict[str, str] = {}
    free = list(columns)
    for part in _parts_to_guess(chosen):
        known = {plain(name) for name in (part, *chosen.aliases.get(part, ()), *GUESSES.get(part, ()))}
        names = [name for name in free if plain(name) in known or known & set(plain(name).split("_"))]
        if not names:
            return None
        found[part] = names[0]
        free.remove(names[0])
    return ColumnMapping(format=chosen.name, columns=found)


def _parts_to_guess(chosen: DatasetFormat) -> tuple[str, ...]:
    """The needed parts that hold a text or a label; turns are found by their values."""
    more = {"preference": ("prompt",), "unpaired_preference": ("prompt", "completion")}
    return chosen.columns + more.get(chosen.name, ())


def _text_columns(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, float]:
    """The columns that hold text in every row, with their mean length in characters."""
    lengths: dict[str, float] = {}
    for name in columns:
        texts = [row[name] for row in rows if isinstance(row.get(name), str)]
        if rows and len(texts) == len(rows) and any(text.strip() for text in texts):
            lengths[name] = sum(map(len, texts)) / len(texts)
    return lengths


def _holds_turns(value: object) -> bool:
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    return {"role", "content"} <= set(value[0]) or {"from", "value"} <= set(value[0])
