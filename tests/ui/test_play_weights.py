"""The Playground's menu of how base models are held: it shows the studio's choice and takes no other value."""

from types import SimpleNamespace

import pytest

from studio.errors import UserError
from studio.jobs.chat_weights import CHOICES, ChatWeights
from studio.settings import Settings
from studio.ui import server
from studio.ui.feedback import guarded
from studio.ui.play_weights import WeightsHandlers
from studio.workspace import WorkspaceInUse

pytestmark = pytest.mark.usefixtures("toasts")
REQUEST = SimpleNamespace(query_params={}, headers={"cookie": "studio_language=zh"})


@pytest.fixture
def on(studio):
    return WeightsHandlers(studio)


def test_what_is_chosen_is_kept_and_shown_to_everybody(studio, on, toasts):
    assert on.shown()["value"] == "none"
    for _ in range(2):
        on.choose("nf4", REQUEST)  # the page may tell of one choice twice
    assert WeightsHandlers(studio).shown()["value"] == ChatWeights(studio.workspace).read() == "nf4"
    [told] = toasts
    assert "所有人" in told


@pytest.mark.parametrize("value", ["nf8", "", None, 4, ["nf4"], {"a": 1}, "<b>"])
def test_a_strange_value_is_refused_and_changes_nothing(studio, on, toasts, value):
    on.choose("int8", REQUEST)
    with pytest.raises(UserError):
        on.choose(value, REQUEST)
    guarded(on.choose)(value, REQUEST)
    assert ChatWeights(studio.workspace).read() == "int8"
    assert "int8" in toasts[-1]  # what can be chosen
    assert "<b>" not in toasts[-1]


def test_the_menu_offers_every_way(site):
    [menu] = [block for block in site.blocks.blocks.values() if getattr(block, "elem_id", "") == "chat-weights"]
    assert [value for _, value in menu.choices] == list(CHOICES)
    assert menu.value == "none"


def test_serve_chooses_for_the_workspace_that_it_keeps_and_no_other(workspace, monkeypatch):
    settings = Settings(workspace=workspace.root)
    monkeypatch.setattr(server, "build_app", lambda studio: 1 / 0)

    def serve(**options):
        server.serve(settings, None, open_page=False, **options)

    for options, chosen in (({}, "none"), ({"chat_quantization": "int8"}, "int8"), ({}, "int8")):
        with pytest.raises(ZeroDivisionError):
            serve(**options)
        assert ChatWeights(workspace).read() == chosen
    with workspace.lock(), pytest.raises(WorkspaceInUse):
        serve(chat_quantization="nf4")
    assert ChatWeights(workspace).read() == "int8"
