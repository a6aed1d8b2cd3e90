"""What a tab's script asks for, without a browser: see `ask` in studio/ui/assets/studio.js."""

import asyncio
import time
from typing import Any

import httpx

PERIOD = 1.0
SYSTEM_PERIOD = 10.0


class Poller:
    """One tab with one job open. `received`: bytes of status lines, headers and bodies so far."""

    def __init__(self, url: str, job: str, *, offset: float) -> None:
        self._url, self._job, self._offset = url, job, offset
        self._list, self._tag, self._next, self._log = 0, "", 0, -1
        self.received = 0

    async def run(self) -> None:
        """Ask once a second, for ever; how busy the machine is, every ten."""
        await asyncio.sleep(self._offset)
        asked_system = 0.0
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as client:
            while True:
                began = time.monotonic()
                await self._ask(client)
                if began - asked_system >= SYSTEM_PERIOD:
                    asked_system = began
                    self._count(await client.get("/api/system"))
                await asyncio.sleep(max(0.0, PERIOD - (time.monotonic() - began)))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        query: dict[str, str | int] = {
            "list": self._list,
            "job": self._job,
            "since": self._next,
            "tag": self._tag,
            "log": self._log,
        }
        answer = self._count(await client.get("/api/live", params=query))
        if answer.status_code == 204:
            return
        body: dict[str, Any] = answer.json()
        self._list = body.get("list", self._list)
        if "job" in body:
            self._tag, self._next = body["tag"], body["next"]
        if "log" in body:
            self._log = body["log"]["next"]

    def _count(self, answer: httpx.Response) -> httpx.Response:
        answer.raise_for_status()
        status_line = len(f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\r\n\r\n")
        headers = sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)
        self.received += status_line + headers + answer.num_bytes_downloaded
        return answer
