"""The card below the Playground: examples that can be pasted, and keys that are shown once."""

import ast
import shlex
from types import SimpleNamespace

import pytest

from studio.errors import UserError
from studio.jobs.studio import open_studio
from studio.playground import api_keys
from studio.settings import Settings
from studio.ui.tabs import api_card
from studio.ui.tabs.api_card import ApiHandlers, address_of, curl_for, python_for

TRICKY = 'base:/models/it\'s "so" $HOME; rm'


def request(**headers):
    return SimpleNamespace(headers=headers, query_params={})


@pytest.mark.parametrize("locked", [True, False])
def test_the_examples_say_the_models_name_and_nothing_else(locked):
    command = shlex.split(curl_for("http://here/v1", TRICKY, locked))
    assert command[:2] == ["curl", "http://here/v1/chat/completions"]
    assert ast.literal_eval(command[-1])["model"] == TRICKY
    assert ("Authorization: Bearer $STUDIO_API_KEY" in command) is locked
    call = ast.parse(python_for("http://here/v1", TRICKY, locked))
    values = {ast.unparse(one.value) for one in ast.walk(call) if isinstance(one, ast.keyword) and one.arg == "model"}
    assert values == {repr(TRICKY)}


def test_the_address_is_the_one_in_the_readers_browser():
    assert address_of(request(host="gpu.lab:7860")) == "http://gpu.lab:7860/v1"
    assert address_of(request(host="studio.example.org", **{"x-forwarded-proto": "https"})).startswith("https://studio")
    assert address_of(request(host="x", **{"x-forwarded-proto": "javascript"})) == "http://x/v1"


def test_a_key_is_made_shown_once_and_revoked(workspace, monkeypatch):
    on = ApiHandlers(open_studio(Settings(workspace=workspace.root, password="x")))
    monkeypatch.setattr(api_card.gr, "Info", lambda *args, **options: None)
    _, shown, menu = on.make(" my   notebook ")
    assert api_keys.is_valid(workspace, shown.value)
    [kept] = api_keys.list_keys(workspace)
    assert (kept.name, menu.value) == ("my notebook", kept.id)
    assert shown.value not in str(on.arrive("base:starter", request(host="h")))
    hidden, menu = on.revoke(kept.id, request())
    assert (hidden.value, menu.choices) == ("", [])
    assert not api_keys.is_valid(workspace, shown.value)
    for wrong in (None, "", "../session_key", "nobody-00000000"):
        with pytest.raises(UserError):
            on.revoke(wrong, request())
    with pytest.raises(UserError, match="needs a name"):
        on.make(" ")


def test_without_a_password_there_is_no_key_to_make(studio):
    on = ApiHandlers(studio)
    for act in (lambda: on.make("x"), lambda: on.revoke("x", request())):
        with pytest.raises(UserError, match="no key is needed"):
            act()
    assert "$STUDIO_API_KEY" not in on.arrive(None, request(host="h"))[1]
