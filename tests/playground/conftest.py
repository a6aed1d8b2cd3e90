"""A studio whose models are a fake server."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from studio.jobs.studio import Studio
from tests.playground.fake_server import FakePool, FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer().running() as running:
        yield running


@pytest.fixture
def talking(studio: Studio, server: FakeServer) -> Any:
    """The studio, with that server behind every choice."""
    return SimpleNamespace(
        store=studio.store,
        workspace=studio.workspace,
        settings=studio.settings,
        model_roots=studio.model_roots,
        servers=FakePool(server),
    )
