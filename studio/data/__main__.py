"""The child process that touches foreign files: `python -m studio.data TASK`, request on stdin, answer on stdout."""

import json
import sys
from pathlib import Path
from typing import Any

from studio.data import dataset
from studio.data.chat_template import IGNORED, ChatTokenizer, Sequence, tokenize
from studio.data.isolation import limit_this_process
from studio.errors import UserError


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """File → data set folder."""
    file, folder = Path(request.pop("file")), Path(request.pop("folder"))
    return dataset.convert(file, folder, **request).model_dump()


def render(request: dict[str, Any]) -> dict[str, Any]:
    """Examples → tokens as the model sees them."""
    tokenizer = ChatTokenizer(Path(request["model_folder"]), request["chat_template"])
    sequences = [
        [_shown(sequence, tokenizer, request["max_length"]) for sequence in tokenize(example, tokenizer)]
        for example in request["examples"]
    ]
    return {"sequences": sequences}


TASKS = {"convert": convert, "render": render}


def _shown(sequence: Sequence, tokenizer: ChatTokenizer, max_length: int) -> dict[str, Any]:
    kept = sequence.cut(max_length) if max_length else sequence
    return {
        "tokens": _texts(kept, tokenizer),
        "total": len(sequence.input_ids),
        "learned": kept.learned,
        "cut": len(sequence.input_ids) - len(kept.input_ids),
    }


def _texts(sequence: Sequence, tokenizer: ChatTokenizer) -> list[tuple[str, bool]]:
    """(text, learned) for each token; tokens that are parts of one character are shown together."""
    shown: list[tuple[str, bool]] = []
    pending: list[int] = []
    for token, label in zip(sequence.input_ids, sequence.labels, strict=True):
        pending.append(token)
        text = tokenizer.tokenizer.decode(pending, skip_special_tokens=False)
        if not text.endswith("\ufffd") or len(pending) > 8:
            shown.append((text, label != IGNORED))
            pending = []
    if pending:
        shown.append((tokenizer.tokenizer.decode(pending, skip_special_tokens=False), False))
    return shown


def main() -> int:
    """Run one task; a UserError becomes an answer and exit code 2, a bug a traceback and exit code 1."""
    limit_this_process()
    request = json.load(sys.stdin)
    try:
        answer, code = TASKS[sys.argv[1]](request), 0
    except UserError as error:
        answer, code = {"user_error": {"message": error.message, "hint": error.hint}}, 2
    json.dump(answer, sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
