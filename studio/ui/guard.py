"""In front of everything: who may ask, from where, and what a browser may do with the answer. Pure ASGI."""

import hashlib
import hmac
import json
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

import psutil

from studio.playground import api_keys
from studio.settings import Settings
from studio.ui.login_page import login_page
from studio.workspace import Workspace, write_text

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Gradio's own components need inline and evaluated scripts; nothing may come from, or go to, another host.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data:",
        "media-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
KEY_BYTES = 32
SESSION_SECONDS = 7 * 24 * 3600
FAILURES_ALLOWED, FAILURE_WINDOW = 5, 60.0
LOGIN_BODY_LIMIT = 4096
OPEN_PATHS = ("/healthz", "/login")
API = "/v1/"  # programs speak here: a key opens it, and refusals have the shape that they expect


class Guard:
    """Host allow-list, Origin check, password, security headers, around the whole application."""

    def __init__(self, app: App, *, settings: Settings, workspace: Workspace) -> None:
        self._app = app
        self._workspace = workspace
        self._password = settings.password
        self._hosts = allowed_hosts(settings)
        self._cookie = f"studio_session_{settings.port}"
        self._key = session_key(workspace)
        self._failures = Attempts()
        self._wrong_keys = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # nothing of ours speaks it
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self.refusal(scope["method"], headers)
        for_programs = scope["path"].startswith(API)
        if refusal is not None:
            await (api_answer(send, *refusal) if for_programs else answer(send, *refusal))
        elif self._password and for_programs and not self._knows(headers):
            await self._with_key(scope, receive, send, headers)
        elif self._password and scope["path"] == "/login":
            await self._login(scope, receive, send)
        elif self._password and scope["path"] not in OPEN_PATHS and not self._knows(headers):
            await self._ask_to_log_in(scope, headers, send)
        else:
            await self._app(scope, receive, with_headers(send))

    def refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """(status, sentence) for a request that no page of ours would make, else None."""
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            return 400, "This host name is not one of the studio's: see STUDIO_ALLOWED_HOSTS."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "Requests from other pages are refused."
        if method not in ("GET", "HEAD") and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return 403, "Requests from other pages are refused."
        return None

    def _knows(self, headers: dict[str, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        expires, _, signature = (morsel.value if morsel else "").partition(".")
        valid = hmac.compare_digest(signature.encode(), self._sign(expires).encode())
        return valid and expires.isdigit() and int(expires) > time.time()

    def _sign(self, expires: str) -> str:
        # The password is a part of what is signed: changing it ends every session.
        return hmac.new(self._key, f"{expires}|{self._password}".encode(), hashlib.sha256).hexdigest()

    async def _ask_to_log_in(self, scope: Scope, headers: dict[str, str], send: Send) -> None:
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            await answer(send, 303, "", [(b"location", b"/login")])
        else:
            await answer(send, 401, "Log in first.")

    async def _with_key(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        """Let a program through that has one of the studio's keys."""
        address = (scope.get("client") or ("?", 0))[0]
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            await api_answer(send, 401, "This studio has a password: send one of its API keys as a bearer token.")
        elif self._wrong_keys.too_many(address):
            await api_answer(send, 429, "Too many wrong API keys. Wait a minute.")
        elif not api_keys.is_valid(self._workspace, key.strip()):
            self._wrong_keys.add(address)
            await api_answer(send, 401, "That is not one of this studio's API keys.")
        else:
            self._wrong_keys.forget(address)
            await self._app(scope, receive, with_headers(send))

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("?", 0))[0]
        if scope["method"] != "POST":
            await answer(with_headers(send), 200, login_page(), HTML)
            return
        if self._failures.too_many(address):
            await answer(with_headers(send), 429, login_page("Too many attempts. Wait a minute."), HTML)
            return
        given = await read_form_field(receive, "password")
        if not hmac.compare_digest(given.encode(), self._password.encode()):
            self._failures.add(address)
            await answer(with_headers(send), 401, login_page("That is not the password."), HTML)
            return
        self._failures.forget(address)
        expires = str(int(time.time()) + SESSION_SECONDS)
        cookie = (
            f"{self._cookie}={expires}.{self._sign(expires)}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SESSION_SECONDS}"
        )
        await answer(send, 303, "", [(b"location", b"/"), (b"set-cookie", cookie.encode())])


class Attempts:
    """Failures by address; those older than the window are forgotten."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def too_many(self, address: str) -> bool:
        return len(self._recent(address)) >= FAILURES_ALLOWED

    def add(self, address: str) -> None:
        self._times = {who: times for who in self._times if (times := self._recent(who))}
        self._times[address] = [*self._recent(address), time.time()]

    def forget(self, address: str) -> None:
        self._times.pop(address, None)

    def _recent(self, address: str) -> list[float]:
        return [moment for moment in self._times.get(address, []) if time.time() - moment < FAILURE_WINDOW]


HTML = [(b"content-type", b"text/html; charset=utf-8")]
API_ERRORS = {
    400: ("invalid_request_error", "host_not_allowed"),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "foreign_page"),
    429: ("rate_limit_error", "too_many_attempts"),
}


async def answer(send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Send a whole response."""
    body = text.encode()
    given = headers or [(b"content-type", b"text/plain; charset=utf-8")]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*given, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def api_answer(send: Send, status: int, text: str) -> None:
    """Refuse a program, in the shape of OpenAI's errors."""
    kind, code = API_ERRORS[status]
    body = json.dumps({"error": {"message": text, "type": kind, "param": None, "code": code}})
    headers = [(b"content-type", b"application/json")]
    headers += [(b"retry-after", str(int(FAILURE_WINDOW)).encode())] if status == 429 else []
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await answer(send, status, body, headers)


def with_headers(send: Send) -> Send:
    """`send` that adds the security headers: the policy to pages, the rest to everything but tiny live answers."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            kind = next((value for name, value in headers if name == b"content-type"), b"")
            if kind.startswith(b"text/html"):
                headers.append((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()))
                headers.append((b"referrer-policy", b"same-origin"))
            if kind:
                headers.append((b"x-content-type-options", b"nosniff"))
            message = {**message, "headers": headers}
        await send(message)

    return sending


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name.lower() if re.fullmatch(r"(:\d+)?", port) else ""
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The names and addresses that the page answers to."""
    names = {"127.0.0.1", "localhost", "::1", settings.host.lower(), *map(str.lower, settings.allowed_hosts)}
    if settings.host in ("0.0.0.0", "::"):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        names |= {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    return frozenset(names)


def session_key(workspace: Workspace) -> bytes:
    """The key that signs sessions: made once, kept in the workspace, readable by its owner alone."""
    file = workspace.session_key
    text = file.read_bytes().decode("ascii", errors="replace") if file.is_file() else ""
    key = bytes.fromhex(text) if re.fullmatch(r"([0-9a-f]{2})*", text) else b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        write_text(file, key.hex(), mode=0o600)
    return key


async def read_form_field(receive: Receive, name: str) -> str:
    """One field of a small urlencoded form."""
    body = b""
    while len(body) <= LOGIN_BODY_LIMIT:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return parse_qs(body[:LOGIN_BODY_LIMIT].decode("utf-8", errors="replace")).get(name, [""])[0]
