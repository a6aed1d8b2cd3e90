"""The line between what the user can fix and what is our bug.

UserError      the user can fix it: shown word for word, exit code 2 on the command line
anything else  a bug: full traceback in the log, a short id on the screen, exit code 1
"""

import secrets


class UserError(Exception):
    """Something the user can fix: `message` names the thing, `hint` says what to do about it.

    Raise it where the fact is known; it is displayed word for word, so it must hold no secret, no
    traceback and no path outside the workspace that the user did not type.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def new_error_id() -> str:
    """Eight characters that a user can read out and a log can be searched for."""
    return secrets.token_hex(4)
