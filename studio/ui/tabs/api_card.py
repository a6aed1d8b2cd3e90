"""Below the Playground: how other programs speak with the adapter that is chosen there, and the keys they use."""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground import api_keys
from studio.ui.feedback import guarded
from studio.ui.i18n import say, word

NO_KEY = "none-needed"
QUESTION = "How do vaccines work?"


@dataclass(frozen=True)
class ApiCard:
    """The parts of the card that events touch."""

    address: gr.Textbox
    curl: gr.Code
    python: gr.Code
    name: gr.Textbox
    make: gr.Button
    shown: gr.Textbox
    keys: gr.Dropdown
    revoke: gr.Button


def build(studio: Studio) -> ApiCard:
    """Layout. Keys are there only where they are needed: behind a password."""
    locked = bool(studio.settings.password)
    with (
        gr.Accordion(word("api_title"), open=False, elem_id="api-card"),
        gr.Column(elem_classes="st-form st-flat"),
    ):
        gr.Markdown(word("api_locked" if locked else "api_open"))
        address = gr.Textbox(label=word("api_address"), interactive=False, buttons=["copy"], elem_id="api-address")
        options: dict[str, Any] = {"interactive": False, "buttons": ["copy"], "show_line_numbers": False}
        curl = gr.Code(label="curl", language="shell", elem_id="api-curl", wrap_lines=True, lines=2, **options)
        python = gr.Code(label="Python", language="python", elem_id="api-python", **options)
        with gr.Row(visible=locked, equal_height=True):
            name = gr.Textbox(
                label=word("api_key_name"), max_lines=1, interactive=True, elem_id="api-key-name", min_width=200
            )
            make = gr.Button(word("api_key_new"), size="sm", scale=0, min_width=160, elem_id="api-key-new")
        shown = gr.Textbox(
            label=word("api_key_shown"), interactive=False, visible=False, buttons=["copy"], elem_id="api-key-shown"
        )
        with gr.Row(visible=locked, equal_height=True):
            keys = gr.Dropdown(choices=[], label=word("api_keys"), interactive=True, elem_id="api-keys", min_width=200)
            revoke = gr.Button(word("api_key_revoke"), size="sm", scale=0, min_width=160, elem_id="api-key-revoke")
    return ApiCard(address, curl, python, name, make, shown, keys, revoke)


class ApiHandlers:
    """What happens on the card's events."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def arrive(self, model: str | None, request: gr.Request) -> tuple[str, str, str, gr.Dropdown]:
        """The tab opens, or another model is chosen → (address, curl, Python, the menu of keys)."""
        address, locked = address_of(request), bool(self._studio.settings.password)
        chosen = model or "base:starter"
        return address, curl_for(address, chosen, locked), python_for(address, chosen, locked), self._menu()

    def make(self, name: str) -> tuple[gr.Textbox, gr.Textbox, gr.Dropdown]:
        """A name → (the emptied field, the new key, the menu with it). Raises UserError."""
        self._check()
        kept, text = api_keys.new_key(self._studio.workspace, name or "")
        return gr.Textbox(value=""), gr.Textbox(value=text, visible=True), self._menu(kept.id)

    def revoke(self, key_id: str | None, request: gr.Request) -> tuple[gr.Textbox, gr.Dropdown]:
        """A chosen key → (no key shown, the menu without it). Raises UserError."""
        self._check()
        if not key_id:
            raise UserError("No key is chosen.", "Choose one from the list.")
        api_keys.revoke_key(self._studio.workspace, key_id)
        gr.Info(say("api_key_revoked", request), duration=4, title="")
        return gr.Textbox(value="", visible=False), self._menu()

    def _check(self) -> None:
        if not self._studio.settings.password:
            raise UserError("Without a password no key is needed.", "Set STUDIO_PASSWORD to let others in.")

    def _menu(self, chosen: str | None = None) -> gr.Dropdown:
        kept = api_keys.list_keys(self._studio.workspace) if self._studio.settings.password else []
        choices = [(f"{key.name} · …{key.ending}", key.id) for key in kept]
        return gr.Dropdown(choices=choices, value=chosen or (choices[0][1] if choices else None))


def wire(studio: Studio, card: ApiCard, blocks: gr.Blocks, page: gr.Tab, chosen: gr.Dropdown) -> None:
    """Events. `chosen`: the menu that says whom the examples ask."""
    on = ApiHandlers(studio)
    quiet: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
    for come in (page.select, blocks.load, chosen.change):
        come(guarded(on.arrive), chosen, [card.address, card.curl, card.python, card.keys], **quiet)
    gr.on([card.make.click, card.name.submit], guarded(on.make), card.name, [card.name, card.shown, card.keys], **quiet)
    card.revoke.click(guarded(on.revoke), card.keys, [card.shown, card.keys], **quiet)


def address_of(request: gr.Request) -> str:
    """The address of the API as the reader's browser reaches it."""
    host = request.headers.get("host", "127.0.0.1:7860")
    scheme = request.headers.get("x-forwarded-proto") or "http"
    return f"{'https' if scheme == 'https' else 'http'}://{host}/v1"


def curl_for(address: str, model: str, locked: bool) -> str:
    """The same question for a shell; a quote in a model's name ends no string."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": QUESTION}]}, ensure_ascii=False)
    key = ' -H "Authorization: Bearer $STUDIO_API_KEY"' if locked else ""
    quoted = body.replace("'", "'\\''")
    return f"curl {address}/chat/completions{key} -H \"Content-Type: application/json\" -d '{quoted}'"


def python_for(address: str, model: str, locked: bool) -> str:
    """The same question for the official client."""
    key = 'os.getenv("STUDIO_API_KEY")' if locked else json.dumps(NO_KEY)
    lines = [
        *(["import os", ""] if locked else []),
        "from openai import OpenAI",
        "",
        f"client = OpenAI(base_url={json.dumps(address)}, api_key={key})",
        "answer = client.chat.completions.create(",
        f"    model={json.dumps(model, ensure_ascii=False)},",
        f'    messages=[{{"role": "user", "content": {json.dumps(QUESTION)}}}],',
        ")",
        "print(answer.choices[0].message.content)",
    ]
    return "\n".join(lines)
