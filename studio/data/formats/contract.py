"""What a format promises: to recognise its rows, and to turn one into an example without changing its words."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.data.cells import Columns, Warn, ignore, listed, plain, refuse_missing
from studio.data.examples import DatasetType, Example, Row

LAYOUTS_KEPT = 1_000  # a file with more sets of keys than this is not slower to read, only asked again


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """One way to spell rows.

    A format has parts. Every row needs all of `columns` and, when there are groups in `either`, one whole group of
    them; `optional` parts may be absent. A part is found under its own name or one of its `aliases`, capitals and
    spaces aside. `convert(row, at, warn)` makes the example: `at` says in which column a part stands; it raises
    RowError naming the user's column. `sample_row` is what the contract tests and the documentation use.
    """

    name: str
    title: str
    dataset_type: DatasetType
    columns: tuple[str, ...]
    convert: Callable[[Row, Columns, Warn], Example]
    sample_row: Row
    either: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    together: Mapping[str, str] = field(default_factory=dict)  # names that stand for parts only when all are there
    in_tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # part → what a cell's text stands for
    only_if: Callable[[Row, Columns], bool] = lambda row, at: True  # asked when the name of a column says too little
    never_with: tuple[str, ...] = ()  # columns that show a row to be something else

    @property
    def parts(self) -> tuple[str, ...]:
        """Every part, the needed ones first: what a mapping may name."""
        grouped = [part for group in self.either for part in group]
        return tuple(dict.fromkeys([*self.columns, *grouped, *self.optional]))

    def find_columns(self, names: Collection[str]) -> Columns:
        """Part → column, for the parts that are there."""
        there = {plain(name): name for name in names}
        there.update((name, name) for name in names)  # the exact spelling goes before a similar one
        found: Columns = {}
        for part in self.parts:
            spellings = (part, *self.aliases.get(part, ()))
            column = next((there[one] for one in spellings if one in there), None)
            if column is not None:
                found[part] = column
        if not found.keys() & self.together.keys() and there.keys() >= set(self.together.values()):
            found.update((part, there[name]) for part, name in self.together.items())
        return found

    def missing(self, found: Iterable[str]) -> tuple[str, ...]:
        """The parts that are still needed when the parts `found` are there: of the nearest group, if there are any."""
        have = set(found)
        lacking = tuple(part for part in self.columns if part not in have)
        groups = [tuple(part for part in group if part not in have) for group in self.either]
        return lacking + (min(groups, key=len) if groups else ())

    def needed(self, found: Columns) -> Columns:
        """Those of the found parts that no row may lack."""
        group = next((group for group in self.either if all(part in found for part in group)), ())
        return {part: found[part] for part in (*self.columns, *group) if part in found}

    def recognises(self, row: Row) -> bool:
        """Whether the row has this format's columns."""
        found = self.find_columns(row)
        return not any(name in row for name in self.never_with) and not self.missing(found) and self.only_if(row, found)

    def reason(self, row: Row) -> str:
        """Why this row is taken for this format, in words."""
        columns = set(self.find_columns(row).values())
        used, unused = [name for name in row if name in columns], [name for name in row if name not in columns]
        return f"the first row has {listed(used)}" + (f"; not used: {listed(unused)}" if unused else "")

    def reader_for(self, rows: Iterable[Row], warn: Warn = ignore) -> "ExampleReader":
        """What turns a file's rows into examples; `rows` are its first ones, which say how its columns are called."""
        typical: Row = next((row for row in rows if self.recognises(row)), {})
        return ExampleReader(self, self.find_columns(typical), warn)

    def to_example(self, row: Row) -> Example:
        """One row's example. Raises RowError. For many rows, `reader_for` is quicker."""
        return self.reader_for([row])(row)


class ExampleReader:
    """Turns the rows of one file into examples. Columns are looked up once for each set of keys, not for each row.

    `columns` are those that the first rows settled: a row without a needed one of them is refused, so that a file
    does not change its spelling half-way. `fixed` takes these columns only and looks for no others.
    """

    def __init__(
        self, dataset_format: DatasetFormat, columns: Columns, warn: Warn = ignore, *, fixed: bool = False
    ) -> None:
        self.format = dataset_format
        self.columns = columns
        self._needed = dataset_format.needed(columns)
        self._fixed = fixed
        self._warn = warn
        self._convert = dataset_format.convert
        self.cells_are_text = False  # as in CSV, where true and 1 are written as texts
        self._layouts: dict[tuple[str, ...], Columns] = {}

    def __call__(self, row: Row) -> Example:
        """The row's example. Raises RowError."""
        at = self._layouts.get(tuple(row))
        if at is None:
            at = self._look_at(row)
        if self.cells_are_text and self.format.in_tables:
            row = self._with_values(row, at)
        return self._convert(row, at, self._warn)

    def _with_values(self, row: Row, at: Columns) -> Row:
        """The row with the values that its texts stand for."""
        found = dict(row)
        for part, meanings in self.format.in_tables.items():
            if part in at:
                text = row[at[part]]
                found[at[part]] = meanings.get(text.strip().lower(), text)
        return found

    def _look_at(self, row: Row) -> Columns:
        for column in self._needed.values():
            if column not in row:
                refuse_missing(column, row)
        if self._fixed:
            found = {part: column for part, column in self.columns.items() if column in row}
        else:
            found = {**self.format.find_columns(row), **self._needed}
        lacking = self.format.missing(found)
        if lacking:
            refuse_missing(lacking[0], row)
        if len(self._layouts) >= LAYOUTS_KEPT:
            self._layouts.clear()
        self._layouts[tuple(row)] = found
        return found
