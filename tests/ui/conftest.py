"""What the tests of the page share: the whole application on a workspace, asked without a browser."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import Studio, open_studio
from studio.settings import Settings
from studio.ui.server import build_app

HERE = "http://127.0.0.1:7860"
PASSWORD = "open sesame"


@dataclass(frozen=True)
class Site:
    """One built application, its studio, and Gradio's blocks in it."""

    studio: Studio
    app: FastAPI
    blocks: Any


def build_site(folder: Path, **settings: Any) -> Site:
    """The application that `make run` serves, on an empty workspace."""
    studio = open_studio(Settings(workspace=folder, **settings))
    app = build_app(studio)
    blocks = next(route.app.blocks for route in app.routes if hasattr(getattr(route, "app", None), "blocks"))
    return Site(studio, app, blocks)


def visitor(app: Any, *, address: str = "10.0.0.7", **options: Any) -> TestClient:
    """Somebody who asks from one address, follows no redirect and gets every answer as it is."""
    return TestClient(
        app,
        base_url=HERE,
        follow_redirects=False,
        raise_server_exceptions=False,
        client=(address, 50000),
        **options,
    )


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """Building the page tells Gradio by the environment where uploads go: put it back for the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(name, "")
        yield


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Without a password, for this machine alone."""
    return build_site(tmp_path_factory.mktemp("site") / "workspace")


@pytest.fixture(scope="session")
def locked_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same behind a password."""
    return build_site(tmp_path_factory.mktemp("locked") / "workspace", password=PASSWORD)


@pytest.fixture
def new_job(studio: Studio):
    """Makes a job's folder without starting anything; returns its id."""

    def make(name: str = "lamp", preset: str = "lora", **changes: Any) -> str:
        values = read_presets()[preset].values({"id": "none-00000000", "sha256": ""})
        return studio.store.create(build_spec({**values, "name": name, **changes}))

    return make


@pytest.fixture
def toasts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the page says in passing, in place of saying it."""
    import gradio as gr

    shown: list[str] = []
    monkeypatch.setattr(gr, "Info", lambda text, **options: shown.append(text))
    monkeypatch.setattr(gr, "Warning", lambda text, **options: shown.append(text))
    return shown
