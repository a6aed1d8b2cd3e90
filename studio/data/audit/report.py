"""The audit: every example is looked at once as text and once as tokens, and what was found is one report."""

import hashlib
import json
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict

from studio.data.audit.contract import AuditSettings, Check, Finding, to_spans
from studio.data.audit.findings import build_checks, findings_of
from studio.data.audit.languages import LanguageMix
from studio.data.audit.lengths import Lengths, LengthsBuilder
from studio.data.audit.reading import read
from studio.data.audit.tokens import TOKEN_FINDINGS, TokenStatistics, recount
from studio.data.chat_template import ChatTokenizer, tokenize_batch
from studio.data.examples import DatasetType, Example
from studio.errors import UserError

VERSION = 1  # a stored report of another version is made again
BATCH = 256
MOST_REASONS = 5

Numbered = tuple[int, Example]
Progress = Callable[[int], None]


class AuditReport(BaseModel):
    """What an audit found. `scripts` is the share of rows by the script of their answer; `tokens` needs a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_type: DatasetType
    rows: int
    findings: list[Finding]
    scripts: dict[str, float]
    tokens: TokenStatistics | None = None

    def at(self, lengths: Lengths, max_length: int, **options: int) -> "AuditReport":
        """The same report at another `max_length`, at once; options are those of `recount`."""
        tokens, found = recount(lengths, max_length, **options)
        others = [finding for finding in self.findings if finding.code not in TOKEN_FINDINGS]
        return self.model_copy(update={"tokens": tokens, "findings": found + others})


def audit(
    examples: Iterable[Numbered],
    tokenizer: ChatTokenizer | None,
    settings: AuditSettings,
    *,
    held_out: Container[int] = (),
    eval_examples: Iterable[Numbered] = (),
    progress: Progress = lambda rows: None,
    **options: int,
) -> tuple[AuditReport, Lengths | None]:
    """(report, token lengths): look at all examples, given as (row, example) with rows ascending from 1.

    `held_out` are the rows of `examples` that evaluate; `eval_examples` a separate evaluation set. Without a
    tokenizer nothing is said about tokens. `progress` hears how many rows are done, and may raise to stop.
    `options` are those of `recount`: max_length, batch_size, context_length.
    """
    if tokenizer is not None:
        settings = replace(settings, special_tokens=special_tokens_of(tokenizer))
    checks = build_checks(settings)
    _look_at_held_out(eval_examples, checks)
    tokenizing = _Tokenizing(tokenizer) if tokenizer is not None else None
    rows = 0
    for batch in batched(examples):
        for row, example in batch:
            reading = read(row, example, held_out=row in held_out)
            for check in checks.values():
                check.add(reading)
        if tokenizing is not None:
            tokenizing.add(batch)
        rows += len(batch)
        progress(rows)
    found = [*(tokenizing.finding() if tokenizing else []), *findings_of(checks)]
    languages = checks["language_mix"]
    scripts = languages.shares() if isinstance(languages, LanguageMix) and rows else {}
    report = AuditReport(dataset_type=settings.dataset_type, rows=rows, findings=found, scripts=scripts)
    if tokenizing is None:
        return report, None
    lengths = tokenizing.builder.build()
    return report.at(lengths, options.pop("max_length", 0), **options), lengths


def batched(examples: Iterable[Numbered]) -> Iterator[tuple[Numbered, ...]]:
    """The examples in batches of BATCH."""
    remaining = iter(examples)
    while batch := tuple(islice(remaining, BATCH)):
        yield batch


def cache_key(content: str, tokenizer: ChatTokenizer | None, **further: Any) -> str:
    """The name under which an audit may be kept: the same for the same content, tokenizer and template.

    `content` is the hash of the examples as they are audited, steps applied; `further` is whatever else the result
    depends on (held-out rows, settings), ready for JSON.
    """
    parts: list[Any] = [VERSION, content, further]
    if tokenizer is not None:
        file = hashlib.sha256((tokenizer.folder / "tokenizer.json").read_bytes()).hexdigest()
        parts += [file, tokenizer.template, sorted(tokenizer.special_tokens.items())]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def special_tokens_of(tokenizer: ChatTokenizer) -> tuple[str, ...]:
    """What the tokenizer takes for a special token wherever it stands in a text."""
    added = tokenizer.tokenizer.get_added_tokens_decoder().values()
    return tuple(sorted({token.content for token in added if token.special and token.content.strip()}))


def _look_at_held_out(examples: Iterable[Numbered], checks: dict[str, Check]) -> None:
    interested = [check for check in checks.values() if check.sees_held_out]
    for row, example in examples:
        reading = read(row, example, held_out=True)
        for check in interested:
            check.add(reading)


class _Tokenizing:
    """Tokenizes batches; rows that the chat template refuses are noted, with the reason."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer
        self.builder = LengthsBuilder(tokenizer)
        self.refused: list[int] = []
        self.reasons: dict[str, int] = {}

    def add(self, batch: tuple[Numbered, ...]) -> None:
        try:
            sequences = tokenize_batch([example for _, example in batch], self.tokenizer)
        except UserError as error:
            if len(batch) > 1:
                for numbered in batch:
                    self.add((numbered,))
                return
            self.refused.append(batch[0][0])
            if len(self.reasons) < MOST_REASONS or error.message in self.reasons:
                self.reasons[error.message] = self.reasons.get(error.message, 0) + 1
            return
        for (row, _), some in zip(batch, sequences, strict=True):
            self.builder.add(row, some)

    def finding(self) -> list[Finding]:
        if not self.refused:
            return []
        return [
            Finding(
                code="refused_by_template",
                severity="error",
                count=len(self.refused),
                rows=to_spans(self.refused),
                figures={"reasons": self.reasons},
                remedies=("drop", "keep"),
            )
        ]
