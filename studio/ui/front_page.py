"""The page's head, before Gradio's own: language, light or dark, our stylesheet; so nothing flashes."""

import json
import re
from collections.abc import MutableMapping
from html import escape
from typing import Any

from studio.ui.guard import App, Receive, Scope, Send
from studio.ui.i18n import language_of, words

MARK = b'<meta charset="utf-8" />'
# Gradio's page carries preview cards for social networks that name other hosts; ours has no use for them.
PREVIEW_TAG = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>')

# Gradio takes its language from the browser alone; the user's own choice comes first.
LANGUAGE_SCRIPT = "Object.defineProperty(navigator,'language',{get:()=>%s});"
THEME_SCRIPT = (
    "(()=>{const t=localStorage.getItem('studio-theme');"
    "const d=t?t==='dark':matchMedia('(prefers-color-scheme: dark)').matches;"
    "const f=()=>document.body&&document.body.classList.toggle('dark',d);"
    "document.documentElement.style.colorScheme=d?'dark':'light';"
    "new MutationObserver((_,o)=>{if(document.body){f();o.disconnect()}})"
    ".observe(document.documentElement,{childList:true});"
    "addEventListener('DOMContentLoaded',f);setTimeout(f,300)})();"
)


class FrontPage:
    """Rewrites the head of the one HTML page that Gradio serves at /."""

    def __init__(self, app: App, *, version: str, with_logout: bool) -> None:
        self._app, self._version, self._with_logout = app, version, with_logout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        start: MutableMapping[str, Any] = {}
        body = b""

        async def collect(message: MutableMapping[str, Any]) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                await send_changed(send, start, rewrite(body, self.head(headers)))

        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, collect)

    def head(self, headers: dict[str, str]) -> bytes:
        """What is put into the head for a request."""
        language = language_of(headers)
        assets, version = "ui-assets", escape(self._version)
        locale = {"en": "en", "zh": "zh-CN"}[language]
        # < is written as \u003c, so that no word can end the script.
        table = json.dumps(words(language), ensure_ascii=False).replace("<", "\\u003c")
        lines = (
            f"<title>{escape(words(language)['app_title'])}</title>",
            f"<script>{LANGUAGE_SCRIPT % json.dumps(locale)}{THEME_SCRIPT}",
            f"window.STUDIO={{words:{table},language:{json.dumps(language)},version:{json.dumps(version)},"
            f"logout:{json.dumps(self._with_logout)}}};</script>",
            *(f'<link rel="stylesheet" href="{assets}/{name}?v={version}">' for name in STYLES),
            f'<link rel="preload" as="font" type="font/woff2" href="{assets}/fonts/inter.woff2" crossorigin>',
            *(f'<script src="{assets}/{name}?v={version}"></script>' for name in SCRIPTS),
        )
        return "\n".join(lines).encode()


STYLES = (
    "studio.css", "data.css", "methods.css", "memory.css", "adapters.css", "merging.css", "playground.css", "arena.css",
)  # fmt: skip
SCRIPTS = (
    "frames.js", "studio.js", "widgets.js", "charts.js", "data.js", "data_import.js", "data_mapping.js",
    "data_audit.js", "data_tokens.js", "data_rows.js", "train.js", "jobs.js", "memory.js", "memory_views.js",
    "adapters.js", "adapter_folder.js", "adapter_import.js", "adapter_inspect.js", "lineage.js", "merging.js",
    "playground.js", "play_prompts.js", "arena.js", "arena_results.js",
)  # fmt: skip


def rewrite(page: bytes, head: bytes) -> bytes:
    """The page with our head first, without preview cards."""
    return PREVIEW_TAG.sub(b"", page).replace(MARK, MARK + b"\n" + head, 1)


async def send_changed(send: Send, start: MutableMapping[str, Any], body: bytes) -> None:
    """Send a response whose body has changed since its headers were made."""
    headers = [(name, value) for name, value in start.get("headers", []) if name.lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})
