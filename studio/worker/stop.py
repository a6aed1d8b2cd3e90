"""SIGTERM, from the first moment of a worker on; needs no library, so that nothing comes before it."""

import signal
from typing import Any


class StopRequested(BaseException):
    """A stop came while nothing worth saving was under way. No library's `except Exception` may swallow it."""


class StopSwitch:
    """SIGTERM as a switch: before training it ends the work at once, within it at the end of the step."""

    def __init__(self) -> None:
        self.pressed = False
        self.patient = False

    def install(self) -> None:
        """Listen for SIGTERM in this process."""
        signal.signal(signal.SIGTERM, self._press)

    def _press(self, *unused: Any) -> None:
        self.pressed = True
        if not self.patient:
            raise StopRequested
