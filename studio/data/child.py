"""What a child process that touches foreign files does: one task, the request on stdin, the answer on stdout.

The answer is one JSON line, {"answer": …} or {"user_error": …}; lines {"progress": share, "known": …} may precede it.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from studio.data.conversion import Tell
from studio.data.isolation import limit_this_process
from studio.errors import UserError

Request = dict[str, Any]


def answer(tasks: Mapping[str, Callable[[Request, Tell], Any]]) -> int:
    """Do the task that the command line names; a UserError is answered with code 2, a bug with a traceback and 1."""
    task = sys.argv[1]
    limit_this_process(task)
    request = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not get between the lines

    def tell(share: float, known: dict[str, Any]) -> None:
        _say(answers, {"progress": share, "known": known})

    try:
        _say(answers, {"answer": tasks[task](request, tell)})
    except UserError as error:
        _say(answers, {"user_error": {"message": error.message, "hint": error.hint}})
        return 2
    return 0


def _say(stream: IO[str], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()
