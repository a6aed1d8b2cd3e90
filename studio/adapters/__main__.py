"""The child process that touches adapters from outside: `python -m studio.adapters TASK`; see studio/data/child.py."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.adapters.intake import take_in
from studio.data.child import Request, answer
from studio.data.conversion import Tell
from studio.hub import adapter_bytes, check_hub_answers, download_adapter

TOLD_EVERY = 1.0  # seconds


def of_hub(request: Request, tell: Tell) -> Any:
    """An adapter of the Hub → its files in a folder. What has arrived is told every second."""
    hub_id, folder = request["hub_id"], Path(request["folder"])
    check_hub_answers(hub_id)
    total, arrived = max(1, adapter_bytes(hub_id, request["limit"])), threading.Event()

    def look() -> None:
        while not arrived.wait(TOLD_EVERY):
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            tell(min(0.99, size / total), {"phase": "fetching", "bytes": size})

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        download_adapter(hub_id, folder)
    finally:
        arrived.set()
        looking.join()
    return {"bytes": total}


TASKS: dict[str, Callable[[Request, Tell], Any]] = {"adapter": take_in, "adapter_of_hub": of_hub}


if __name__ == "__main__":
    sys.exit(answer(TASKS))
