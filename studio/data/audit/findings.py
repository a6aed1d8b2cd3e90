"""The checks that look at texts: one line each; the order is the order on the page."""

from collections.abc import Iterator

from studio.data.audit.answers import EmptyAnswers, Placeholders, ShortAnswers, SurroundingWhitespace
from studio.data.audit.contract import AuditSettings, Check, Finding
from studio.data.audit.duplicates import Duplicates, RepeatedPrompts
from studio.data.audit.languages import AnswersInAnotherLanguage, LanguageMix
from studio.data.audit.leakage import Leakage
from studio.data.audit.markup import Secrets, SpecialTokens, TemplateCode, TemplateMarks
from studio.data.audit.near_duplicates import NearDuplicates
from studio.data.audit.preferences import (
    Contradictions,
    DifferingPrompts,
    IdenticalAnswers,
    LabelBalance,
    LengthBias,
)

FINDINGS: dict[str, type[Check]] = {
    "empty_answers": EmptyAnswers,
    "placeholders": Placeholders,
    "identical_answers": IdenticalAnswers,
    "contradictions": Contradictions,
    "differing_prompts": DifferingPrompts,
    "label_balance": LabelBalance,
    "length_bias": LengthBias,
    "secrets": Secrets,
    "special_tokens": SpecialTokens,
    "template_marks": TemplateMarks,
    "template_code": TemplateCode,
    "leakage": Leakage,
    "duplicates": Duplicates,
    "near_duplicates": NearDuplicates,
    "repeated_prompts": RepeatedPrompts,
    "short_answers": ShortAnswers,
    "language_mix": LanguageMix,
    "answer_language": AnswersInAnotherLanguage,
    "surrounding_whitespace": SurroundingWhitespace,
}

__all__ = ["FINDINGS", "Finding", "build_checks", "findings_of"]


def build_checks(settings: AuditSettings) -> dict[str, Check]:
    """A fresh check for each finding that this type of data can have."""
    return {code: check(settings) for code, check in FINDINGS.items() if settings.dataset_type in check.dataset_types}


def findings_of(checks: dict[str, Check]) -> Iterator[Finding]:
    """What the checks found, in the order of FINDINGS."""
    for check in checks.values():
        finding = check.finding()
        if finding is not None:
            yield finding
