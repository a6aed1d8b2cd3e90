"""Token lengths of all sequences in a few bytes each, so that another max_length is counted without tokenizing."""

import io
import os
import secrets
from array import array
from pathlib import Path

import numpy as np
import numpy.typing as npt

from studio.data.chat_template import IGNORED, ChatTokenizer, Sequence
from studio.workspace import read_json

Numbers = npt.NDArray[np.int32]
NONE = -1  # no end of text is learned
MOST_AFTER_END = 4  # tokens: a template writes at most a line's end after it
FIELDS = ("rows", "total", "end", "spans_of", "starts", "stops")


class Lengths:
    """For each sequence its row, how many tokens, where learning ends; and the spans of tokens that are learned.

    Sequences of a row stand side by side, rows ascend. `end` is the position of the end-of-text token that closes
    what is learned, NONE without. Span k, tokens starts[k] to stops[k], belongs to the sequence spans_of[k].
    """

    def __init__(self, **fields: Numbers) -> None:
        self.rows, self.total, self.end = fields["rows"], fields["total"], fields["end"]
        self.spans_of, self.starts, self.stops = fields["spans_of"], fields["starts"], fields["stops"]

    @property
    def first(self) -> Numbers:
        """Where learning begins in each sequence: the length of its prompt, its whole length when nothing is."""
        first = self.total.copy()
        np.minimum.at(first, self.spans_of, self.starts)
        return first

    def kept(self, max_length: int) -> Numbers:
        """How many tokens of each sequence stay; `max_length` 0 keeps all."""
        return np.minimum(self.total, max_length) if max_length else self.total

    def learned(self, max_length: int) -> Numbers:
        """How many learned tokens of each sequence stay."""
        most = max_length or np.iinfo(np.int32).max
        lengths = np.minimum(self.stops, most) - np.minimum(self.starts, most)
        return np.bincount(self.spans_of, lengths, len(self.total)).astype(np.int32)

    def without(self, rows: "array[int]") -> "Lengths":
        """The lengths of the other rows: what a drop leaves, without tokenizing again."""
        stays = ~np.isin(self.rows, np.frombuffer(rows, np.uint32))
        spans = stays[self.spans_of]
        position = (np.cumsum(stays) - 1).astype(np.int32)
        return Lengths(
            rows=self.rows[stays],
            total=self.total[stays],
            end=self.end[stays],
            spans_of=position[self.spans_of[spans]],
            starts=self.starts[spans],
            stops=self.stops[spans],
        )

    def write(self, path: Path) -> None:
        """Keep them in a file (npz, no pickle), in one step."""
        content = io.BytesIO()
        np.savez(content, **{name: getattr(self, name) for name in FIELDS})
        staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with staging.open("wb") as file:
                file.write(content.getvalue())
                file.flush()
                os.fsync(file.fileno())
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "Lengths":
        """What `write` kept."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{name: stored[name] for name in FIELDS})


class LengthsBuilder:
    """Collects the lengths of sequences as they are tokenized."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ends = end_tokens(tokenizer)
        self._closing: dict[tuple[int, ...], bool] = {}
        self._fields = {name: array("i") for name in FIELDS}

    def add(self, row: int, sequences: list[Sequence]) -> None:
        """Note the sequences of one row; rows come in ascending order."""
        fields = self._fields
        for sequence in sequences:
            spans = learned_spans(sequence.labels)
            for start, stop in spans:
                fields["spans_of"].append(len(fields["rows"]))
                fields["starts"].append(start)
                fields["stops"].append(stop)
            fields["rows"].append(row)
            fields["total"].append(len(sequence.input_ids))
            fields["end"].append(self._end(sequence.input_ids, spans[-1]) if spans else NONE)

    def build(self) -> Lengths:
        """The lengths noted so far."""
        return Lengths(**{name: np.array(values, np.int32) for name, values in self._fields.items()})

    def _end(self, ids: list[int], span: tuple[int, int]) -> int:
        """The position of the end token that closes a span; only whitespace may follow it."""
        start, stop = span
        for position in range(stop - 1, max(start, stop - 1 - MOST_AFTER_END) - 1, -1):
            if ids[position] in self._ends:
                return position if self._is_blank(tuple(ids[position + 1 : stop])) else NONE
        return NONE

    def _is_blank(self, ids: tuple[int, ...]) -> bool:
        if ids not in self._closing:
            text = self._tokenizer.tokenizer.decode(list(ids), skip_special_tokens=False)
            self._closing[ids] = not text.strip()
        return self._closing[ids]


def learned_spans(labels: list[int]) -> list[tuple[int, int]]:
    """(start, stop) of each run of learned tokens."""
    spans: list[tuple[int, int]] = []
    position, count = 0, len(labels)
    while position < count:
        if labels[position] == IGNORED:
            position += 1
            continue
        start = position
        try:
            position = labels.index(IGNORED, start)
        except ValueError:
            position = count
        spans.append((start, position))
    return spans


def end_tokens(tokenizer: ChatTokenizer) -> frozenset[int]:
    """The ids at which a model stops: the tokenizer's end of text, and those of the model's generation settings."""
    ids = {tokenizer.tokenizer.token_to_id(tokenizer.special_tokens.get("eos_token", ""))}
    settings = read_json(tokenizer.folder / "generation_config.json") or {}
    stops = settings.get("eos_token_id")
    ids.update(stops if isinstance(stops, list) else [stops])
    return frozenset(token for token in ids if isinstance(token, int))
