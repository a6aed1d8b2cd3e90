"""The child process that touches foreign files: `python -m studio.data TASK`, request on stdin, answer on stdout.

See studio/data/child.py for what goes over the pipe.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.data import dataset
from studio.data.auditing import audit_dataset
from studio.data.chat_template import IGNORED, ChatTokenizer, Sequence, tokenize
from studio.data.child import Request, answer
from studio.data.conversion import Tell
from studio.data.mapping import ColumnMapping
from studio.data.snapshots import take_snapshot


def convert(request: Request, tell: Tell) -> Any:
    """Files → data set folder."""
    files = [Path(file) for file in request.pop("files")]
    folder, mapping = Path(request.pop("folder")), request.pop("mapping")
    chosen = ColumnMapping(**mapping) if mapping else None
    return dataset.convert(files, folder, mapping=chosen, tell=tell, **request).model_dump()


def fetch(request: Request, tell: Tell) -> Any:
    """A data set of the Hub → a JSON Lines file."""
    from studio.data.hub_rows import fetch_rows

    return fetch_rows(Path(request.pop("file")), tell=tell, **request)


def render(request: Request, tell: Tell) -> Any:
    """Examples → tokens as the model sees them."""
    tokenizer = ChatTokenizer(Path(request["model_folder"]), request["chat_template"])
    sequences = [
        [_shown(sequence, tokenizer, request["max_length"]) for sequence in tokenize(example, tokenizer)]
        for example in request["examples"]
    ]
    return {"sequences": sequences}


def audit(request: Request, tell: Tell) -> Any:
    """A data set and a model → the report, kept beside the data set."""
    model = request.pop("model_folder")
    return audit_dataset(Path(request.pop("folder")), Path(model) if model else None, tell=tell, **request)


def snapshot(request: Request, tell: Tell) -> Any:
    """A data set with its steps → the examples that they leave."""
    return take_snapshot(Path(request["folder"]), tell=tell)


TASKS: dict[str, Callable[[Request, Tell], Any]] = {
    "convert": convert,
    "fetch": fetch,
    "render": render,
    "audit": audit,
    "snapshot": snapshot,
}


def _shown(sequence: Sequence, tokenizer: ChatTokenizer, max_length: int) -> dict[str, Any]:
    kept = sequence.cut(max_length) if max_length else sequence
    end = tokenizer.tokenizer.token_to_id(tokenizer.special_tokens.get("eos_token", ""))
    learned_ids = [token for token, label in zip(kept.input_ids, kept.labels, strict=True) if label != IGNORED]
    return {
        "tokens": _texts(kept, tokenizer),
        "lost": _texts(Sequence(sequence.input_ids[len(kept.input_ids) :], []), tokenizer),
        "total": len(sequence.input_ids),
        "learned": kept.learned,
        "cut": len(sequence.input_ids) - len(kept.input_ids),
        "has_end": end is not None and end in learned_ids,
    }


def _texts(sequence: Sequence, tokenizer: ChatTokenizer) -> list[tuple[str, bool]]:
    """(text, learned) for each token; tokens that are parts of one character are shown together."""
    shown: list[tuple[str, bool]] = []
    pending: list[int] = []
    labels = sequence.labels or [IGNORED] * len(sequence.input_ids)
    for token, label in zip(sequence.input_ids, labels, strict=True):
        pending.append(token)
        text = tokenizer.tokenizer.decode(pending, skip_special_tokens=False)
        if not text.endswith("\ufffd") or len(pending) > 8:
            shown.append((text, label != IGNORED))
            pending = []
    if pending:
        shown.append((tokenizer.tokenizer.decode(pending, skip_special_tokens=False), False))
    return shown


if __name__ == "__main__":
    sys.exit(answer(TASKS))
