"""Foreign files, read in the process of the tests: to start one of its own takes longer than to read most files."""

import importlib
import io
import json
import subprocess
from types import SimpleNamespace
from typing import Any

from studio.errors import UserError

ASKS_OTHERS = ("fetch", "adapter_of_hub")  # these find what they ask in an environment of their own


class _Request(io.BytesIO):
    """The standard input of a child: when it is closed, the child has all that it needs."""

    def __init__(self, child: "ReadHere") -> None:
        super().__init__()
        self._child = child

    def close(self) -> None:
        if not self.closed:
            self._child.work(json.loads(self.getvalue()))
        super().close()


class ReadHere:
    """Stands in for `Popen([python, "-m", module, task])` of studio/data/isolation.py: the same task, the same lines.

    Its limits, its death and its silence are not shown by it: what is about them is marked with `child`.
    """

    pid = 2**30  # nobody's: who cancels ends nothing
    returncode: int | None = None

    def __init__(self, module: str, task: str) -> None:
        self._task = importlib.import_module(f"{module}.__main__").TASKS[task]
        self.stdin, self.stdout = _Request(self), io.BytesIO()

    def work(self, request: dict[str, Any]) -> None:
        """Do the task, as studio/data/child.py does. A bug is raised as it is."""
        try:
            self._say(
                {"answer": self._task(request, lambda share, known: self._say({"progress": share, "known": known}))}
            )
            self.returncode = 0
        except UserError as error:
            self._say({"user_error": {"message": error.message, "hint": error.hint}})
            self.returncode = 2
        finally:
            self.stdout.seek(0)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        return self.returncode

    def _say(self, message: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(message).encode() + b"\n")


def _start(command: list[str], **options: Any) -> Any:
    *_, module, task = command
    return subprocess.Popen(command, **options) if task in ASKS_OTHERS else ReadHere(module, task)


STAND_IN = SimpleNamespace(Popen=_start, PIPE=subprocess.PIPE)  # for the name `subprocess` in studio/data/isolation.py
