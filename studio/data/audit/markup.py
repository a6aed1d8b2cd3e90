"""Texts that hold what belongs to the machinery: special tokens, a template's marks or code, secrets."""

import re

from studio.data.audit.contract import AuditSettings, Check, Finding
from studio.data.audit.reading import Reading

# What the chat templates of the known families write around a turn.
TEMPLATE_MARKS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
    *("<<SYS>>", "<</SYS>>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|begin▁of▁sentence|>"),
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "[gMASK]", "<sop>"),
)
# What every such secret begins with (quick to search for), and how it goes on.
SECRETS: dict[str, tuple[tuple[str, ...], re.Pattern[str]]] = {
    "Hugging Face token": (("hf_",), re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{20,}")),
    "API key (sk-)": (("sk-",), re.compile(r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{20,}")),
    "AWS key": (("AKIA",), re.compile(r"(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}(?![A-Za-z0-9])")),
    "GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "github_pat_"),
        re.compile(r"(?<![A-Za-z0-9_])(?:gh[opsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})"),
    ),
    "Google key": (("AIza",), re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}")),
    "Slack token": (("xox",), re.compile(r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}")),
    "private key": (("-----BEGIN ",), re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")),
}


class Marks(Check):
    """Counts which of some marks stand in the texts."""

    severity = "warning"
    remedies = ("trim", "drop", "keep")

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.tokens = self.marks()
        self.pattern = re.compile("|".join(re.escape(mark) for mark in self.tokens) or r"(?!)")
        self.counts: dict[str, int] = {}
        # Nearly every mark begins with one of few characters, and a search for one character is much quicker.
        self.beginnings = sorted({mark[0] for mark in self.tokens})

    def marks(self) -> tuple[str, ...]:
        """What to look for, the longest first where one begins with another."""
        raise NotImplementedError

    def concerns(self, reading: Reading) -> bool:
        if not any(beginning in reading.whole for beginning in self.beginnings):
            return False
        found = set(self.pattern.findall(reading.whole))
        for mark in found:
            self.counts[mark] = self.counts.get(mark, 0) + 1
        return bool(found)

    def finding(self) -> Finding | None:
        counts = dict(sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0])))
        return self.found(self.rows, tokens=counts) if self.rows else None


class SpecialTokens(Marks):
    """Rows that hold a special token of the chosen tokenizer: the model would take it for the real one."""

    code = "special_tokens"

    def marks(self) -> tuple[str, ...]:
        return tuple(sorted(self.settings.special_tokens, key=len, reverse=True))


class TemplateMarks(Marks):
    """Rows that hold the marks of another family's chat template: the text was rendered once already."""

    code = "template_marks"

    def marks(self) -> tuple[str, ...]:
        ours = set(self.settings.special_tokens)
        return tuple(sorted((mark for mark in TEMPLATE_MARKS if mark not in ours), key=len, reverse=True))


class TemplateCode(Check):
    """Rows that hold {{ or {%: a placeholder that nobody filled, or code that is meant."""

    code = "template_code"
    severity = "info"

    def concerns(self, reading: Reading) -> bool:
        return "{{" in reading.whole or "{%" in reading.whole


class Secrets(Check):
    """Rows that hold what looks like a key or a token. Their values appear nowhere in the finding."""

    code = "secrets"
    severity = "error"

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.counts: dict[str, int] = {}

    def concerns(self, reading: Reading) -> bool:
        text = reading.whole
        kinds = {
            kind
            for kind, (beginnings, pattern) in SECRETS.items()
            if any([beginning in text for beginning in beginnings]) and pattern.search(text)
        }
        for kind in kinds:
            self.counts[kind] = self.counts.get(kind, 0) + 1
        return bool(kinds)

    def finding(self) -> Finding | None:
        return self.found(self.rows, kinds=dict(sorted(self.counts.items()))) if self.rows else None
