"""The studio's own address speaks OpenAI's protocol: the official client, raw HTTP, keys, refusals, who leaves."""

import asyncio
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from studio import workspace as names
from studio.catalog import Catalog
from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.jobs.spec import ServeSpec
from studio.jobs.store import JobStore
from studio.jobs.studio import Studio
from studio.listening import listening_socket
from studio.playground import api_keys
from studio.playground.client import ChatClient
from studio.playground.client import Settings as ChatSettings
from studio.playground.remote import remote_endpoint
from studio.settings import Settings
from studio.ui import openai_routes
from studio.ui.guard import FAILURES_ALLOWED, Guard
from studio.ui.openai_routes import mount_openai
from studio.worker import serve
from tests.worker.conftest import PATIENCE

pytestmark = pytest.mark.slow
QUESTION = [{"role": "user", "content": "what is question 3"}]
GREEDY = {"temperature": 0, "max_tokens": 12}


class Pool:
    """Stands in for the pool of servers: a base loads for some looks, then its server answers."""

    def __init__(self):
        self.endpoint, self.loading, self.trouble, self.reason, self.wanted = None, 0, None, "", []

    def want(self, base_model):
        self.wanted.append(base_model)
        if self.trouble:
            raise self.trouble
        if self.loading:
            self.loading -= 1
            return None
        return self.endpoint

    def why(self, base_model):
        return self.reason


def listening(app):
    """The address of an application that a thread of this process serves, and how to end it."""
    listener = listening_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()

    def end():
        server.should_exit = True
        thread.join(timeout=10)

    return f"http://127.0.0.1:{listener.getsockname()[1]}", end


@pytest.fixture(scope="module")
def pool():
    return Pool()


@pytest.fixture(scope="module")
def taught(lab):
    """A job with an adapter that answers differently from its base."""
    return lab.train(lab.spec("lora", max_steps=12, learning_rate=0.05, save_steps=1000)).name


@pytest.fixture(scope="module")
def model_server(lab, taught):
    """The endpoint of a real model's server, in a thread of this process."""
    spec = ServeSpec(base_model=str(lab.model))
    folder = lab.folder(spec, "server")
    threading.Thread(target=serve.run, args=(folder, spec), daemon=True).start()
    end = time.monotonic() + PATIENCE
    while not (folder / names.ENDPOINT).is_file():
        assert time.monotonic() < end
        time.sleep(0.05)
    value = json.loads((folder / names.ENDPOINT).read_text())
    return Endpoint(f"http://127.0.0.1:{value['port']}", value["token"])


def guarded(lab, pool, **settings):
    """The routes behind the guard, on the lab's workspace."""
    catalog = Catalog(lab.workspace.catalog)
    where = Settings(workspace=lab.workspace.root, **settings)
    studio = Studio(where, lab.workspace, catalog, JobStore(lab.workspace, catalog))
    app = FastAPI()
    mount_openai(app, replace(studio, supervisor=SimpleNamespace(servers=pool, is_alive=True)))
    app.add_middleware(Guard, settings=where, workspace=lab.workspace)
    return app


@pytest.fixture(scope="module")
def address(lab, pool, model_server):
    """Where the studio answers on this machine alone, without a password."""
    url, end = listening(guarded(lab, pool))
    yield url
    end()


@pytest.fixture(scope="module")
def locked(lab, pool, model_server):
    """The same studio behind a password."""
    url, end = listening(guarded(lab, pool, password="open sesame", model_roots=(lab.model.parent,)))
    yield url
    end()


@pytest.fixture(autouse=True)
def _fresh(pool, model_server):
    pool.endpoint, pool.loading, pool.trouble, pool.reason = model_server, 0, None, ""
    pool.wanted.clear()


def client(address, key="none needed"):
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60)


def ask(address, model, messages=QUESTION, headers=None, **options):
    body = {"model": model, "messages": messages, **GREEDY, **options}
    return httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=60)


def reach(settings, choice):
    return remote_endpoint(SimpleNamespace(settings=settings), choice)


def error_of(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_what_is_here_is_listed_by_the_names_of_the_menus(lab, address, taught):
    base = f"base:{lab.model}"
    listed = {one.id: one for one in client(address).models.list()}
    assert {base, taught} <= set(listed)
    assert listed[taught].object == "model"
    assert (listed[taught].studio["kind"], listed[taught].studio["base_model"]) == ("adapter", str(lab.model))
    assert client(address).models.retrieve(base).id == base
    with pytest.raises(openai.NotFoundError, match="no model"):
        client(address).models.retrieve("nobody-00000000")


def test_the_official_client_and_raw_http_hear_the_same_streamed_or_not(lab, address, pool, taught):
    pool.loading = 2  # the request waits for its base
    speaker = client(address).chat.completions
    said = {}
    for model in (f"base:{lab.model}", taught):
        whole = speaker.create(model=model, messages=QUESTION, **GREEDY)
        pieces = list(speaker.create(model=model, messages=QUESTION, stream=True, **GREEDY))
        raw = ask(address, model).json()
        assert {whole.model, raw["model"], *(piece.model for piece in pieces)} == {model}
        text = whole.choices[0].message.content
        assert text
        assert text == raw["choices"][0]["message"]["content"]
        assert text == "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        assert whole.usage.completion_tokens == raw["usage"]["completion_tokens"] > 0
        said[model] = text
    assert len(set(said.values())) == 2
    assert set(pool.wanted) == {str(lab.model)}
    streamed = ask(address, taught, stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.rstrip().endswith("data: [DONE]")


def test_the_newer_words_of_the_protocol_are_understood(address, taught):
    parts = [{"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]}]
    newer = ask(address, taught, parts + QUESTION, max_tokens=None, max_completion_tokens=3, n=1, tools=[])
    older = ask(address, taught, [{"role": "system", "content": "be brief"}, *QUESTION], max_tokens=3)
    assert newer.json()["choices"] == older.json()["choices"]
    assert newer.json()["usage"]["completion_tokens"] <= 3
    called = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]}
    silent = [ask(address, taught, [*QUESTION, {**called, **said}, *QUESTION]) for said in ({"content": None}, {})]
    silent.append(ask(address, taught, [*QUESTION, {"role": "assistant", "content": ""}, *QUESTION]))
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in silent}) == 1
    for silence in ({"role": "user", "content": None}, {"role": "system"}):
        assert error_of(ask(address, taught, [silence, *QUESTION]), 400)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0]",
        ),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"model": None}, "model"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"temperature": 9}, "temperature"),
    ],
)
def test_what_no_model_here_can_do_is_refused_by_its_name(address, taught, changes, param):
    response = httpx.post(
        f"{address}/v1/chat/completions", json={"model": taught, "messages": QUESTION, **GREEDY, **changes}, timeout=60
    )
    assert error_of(response, 400)["param"] == param


def test_refusals_have_openais_shape_and_status(address, pool, taught, lab):
    assert error_of(ask(address, "nobody-00000000"), 404)["code"] == "model_not_found"
    for stranger in ("../../etc", "base:/etc", "base:../x", "org/not-here", f"{taught}@x", f"{taught}@7", "a" * 9999):
        assert ask(address, stranger).status_code in (400, 404), stranger
    assert not pool.wanted  # nothing of that was ever to be loaded
    assert error_of(ask(address, taught, [{"role": "user", "content": " "}]), 400)["message"].startswith("The message")
    alone = error_of(ask(address, taught, [{"role": "system", "content": "Be brief."}]), 400)
    assert (alone["message"][:12], alone["param"]) == ("Nobody asks ", "messages")
    long = [{"role": "user", "content": "fog " * 600}]
    for stream in (True, False):
        error = error_of(ask(address, taught, long, stream=stream), 400)
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert error_of(httpx.get(f"{address}/v1/embeddings"), 404)["code"] == "unknown_url"
    broken = httpx.post(f"{address}/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert error_of(broken, 400)["code"] == "invalid_json"
    with pytest.raises(openai.NotFoundError) as caught:
        client(address).chat.completions.create(model="nobody-00000000", messages=QUESTION)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_base_that_cannot_be_loaded_now_says_why_and_when_to_ask_again(address, pool, taught, monkeypatch):
    pool.trouble = UserError("The model does not fit beside the training.", "Wait for it.")
    refused = ask(address, taught)
    assert "does not fit" in error_of(refused, 503)["message"]
    assert int(refused.headers["retry-after"]) > 0
    pool.trouble, pool.loading, pool.reason = None, 1000, "Two other models answer."
    monkeypatch.setattr(openai_routes, "LOAD_PATIENCE", 0.3)
    assert error_of(ask(address, taught), 503)["message"] == "Two other models answer."
    pool.loading, pool.endpoint = 0, Endpoint("http://127.0.0.1:9", "x")  # its server has just ended
    assert "Ask again" in error_of(ask(address, taught), 503)["message"]


def test_a_page_of_another_site_cannot_make_it_speak(address, pool, taught):
    body = json.dumps({"model": taught, "messages": QUESTION})
    url = f"{address}/v1/chat/completions"
    for headers, status in (
        ({"origin": "https://evil.example", "content-type": "application/json"}, 403),
        ({"origin": "null", "content-type": "text/plain"}, 403),
        ({"sec-fetch-site": "cross-site", "content-type": "text/plain"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"host": "evil.example", "content-type": "application/json"}, 400),
    ):
        answer = httpx.post(url, content=body, headers=headers)
        error_of(answer, status)
        assert "access-control-allow-origin" not in answer.headers
    assert not pool.wanted
    preflight = httpx.options(url, headers={"origin": "https://evil.example", "access-control-request-method": "POST"})
    assert preflight.status_code == 403


def test_behind_a_password_a_key_opens_and_nothing_else(lab, locked, taught):
    assert error_of(httpx.get(f"{locked}/v1/models"), 401)["code"] == "invalid_api_key"
    kept, key = api_keys.new_key(lab.workspace, "a notebook")
    assert client(locked, key).chat.completions.create(model=taught, messages=QUESTION, **GREEDY).choices
    with_key = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{locked}/", headers=with_key).status_code == 401  # the page wants the password
    assert httpx.get(f"{locked}/api/jobs", headers=with_key).status_code == 401
    # Nothing that could be used again is on the disk.
    files = list(lab.workspace.api_keys.iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]
    assert lab.workspace.api_keys.stat().st_mode & 0o077 == 0
    assert key not in files[0].read_text()
    assert [one.id for one in api_keys.list_keys(lab.workspace)] == [kept.id]
    api_keys.revoke_key(lab.workspace, kept.id)
    with pytest.raises(openai.AuthenticationError):
        client(locked, key).models.list()
    with pytest.raises(UserError, match="no key"):
        api_keys.revoke_key(lab.workspace, kept.id)


def test_keys_cannot_be_tried_one_after_another(lab, pool, taught):
    url, end = listening(guarded(lab, pool, password="open sesame"))
    _, key = api_keys.new_key(lab.workspace, "a tool")
    try:
        for _ in range(FAILURES_ALLOWED):
            assert httpx.get(f"{url}/v1/models", headers={"authorization": "Bearer sk-studio-x"}).status_code == 401
        late = httpx.get(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"})
        assert error_of(late, 429)["code"] == "too_many_attempts"
        assert late.headers["retry-after"] == "60"
    finally:
        end()


class SlowServer:
    """A model's server that speaks without end, and notes when it is no longer listened to."""

    def __init__(self):
        self.asked, self.left = threading.Event(), threading.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.asked.set()
        streams = json.loads((await receive())["body"])["stream"]
        kind = b"text/event-stream" if streams else b"application/json"
        gone = asyncio.ensure_future(receive())
        if streams:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        while not gone.done():
            if streams:
                await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
            await asyncio.sleep(0.02)
        self.left.set()


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_the_server(address, pool, taught, stream):
    slow = SlowServer()
    url, end = listening(slow)
    pool.endpoint = Endpoint(url, "word")
    try:
        with httpx.Client() as who:
            body = {"model": taught, "messages": QUESTION, "stream": stream}
            if stream:
                with who.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
                    assert next(response.iter_lines()) == "data: {}"
            else:
                with pytest.raises(httpx.ReadTimeout):
                    who.post(f"{address}/v1/chat/completions", json=body, timeout=0.5)
        assert slow.asked.is_set()
        assert slow.left.wait(5)
    finally:
        end()


def test_who_leaves_while_the_base_loads_is_not_waited_for(address, pool, taught):
    pool.loading = 10**6
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json={"model": taught, "messages": QUESTION}, timeout=0.5)
    time.sleep(0.6)
    looks = len(pool.wanted)
    time.sleep(0.6)
    assert len(pool.wanted) == looks


class RemoteServer:
    """A server with the routes that vLLM and SGLang document for adapters, in front of a real model's server.

    It knows an adapter only once it has been told to load it, by the folder's path.
    """

    def __init__(self, kind, base, upstream, key):
        self.kind, self.base, self.upstream, self.key = kind, base, upstream, key
        self.loaded, self.calls = {}, []

    def app(self):
        app = FastAPI()
        app.get("/v1/models")(self.models)
        if self.kind in ("vllm", "sglang"):
            app.post("/v1/load_lora_adapter" if self.kind == "vllm" else "/load_lora_adapter")(self.load)
        app.post("/v1/chat/completions")(self.chat)
        return app

    def refusal(self, request):
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Unauthorized"}}, status_code=401)
        return None

    async def models(self, request: Request):
        cards = [{"id": self.base, "root": str(self.base), "parent": None}]
        cards += [{"id": name, "root": path, "parent": self.base} for name, path in self.loaded.items()]
        return self.refusal(request) or {"object": "list", "data": cards}

    async def load(self, request: Request):
        body = await request.json()
        self.calls.append(body)
        if not (Path(body["lora_path"]) / "adapter_config.json").is_file():
            message = f"No adapter found for {body['lora_path']}"
            return JSONResponse({"object": "error", "message": message, "code": 404}, status_code=400)
        name = body["lora_name"] if self.kind == "vllm" else f"{self.base}:{body['lora_name']}"
        self.loaded[name] = body["lora_path"]
        return self.refusal(request) or Response(f"Success: LoRA adapter '{name}' added successfully.")

    async def chat(self, request: Request):
        body = await request.json()
        known = {self.base: "base", **{name: name.rpartition(":")[2] for name in self.loaded}}
        if body["model"] not in known:
            return JSONResponse({"error": {"message": f"The model {body['model']} does not exist."}}, status_code=404)
        headers = {"authorization": f"Bearer {self.upstream.token}"}
        sent = {**body, "model": known[body["model"]]}
        async with httpx.AsyncClient(timeout=60) as ask:
            answer = await ask.post(f"{self.upstream.url}/v1/chat/completions", json=sent, headers=headers)
        return self.refusal(request) or Response(answer.content, answer.status_code, media_type="text/event-stream")


@pytest.mark.parametrize("kind", ["vllm", "sglang", "openai"])
def test_a_server_elsewhere_loads_the_adapter_it_is_asked_for(lab, pool, model_server, taught, address, kind):
    base = str(lab.model)
    there = RemoteServer(kind, base, model_server, "remote-key")
    remote_url, remote_end = listening(there.app())
    settings = {"remote_url": remote_url, "remote_kind": kind, "remote_key": "remote-key"}
    url, end = listening(guarded(lab, pool, **settings))
    theirs = f"remote:{base}:{taught}" if kind == "sglang" else f"remote:{taught}"
    try:
        listed = {one.id: one.studio["kind"] for one in client(url).models.list()}
        elsewhere = {name for name in listed if name.startswith("remote:")}  # other tests' adapters too
        assert f"remote:{base}" in elsewhere
        assert (theirs in elsewhere) == (kind != "openai")
        assert kind != "openai" or elsewhere == {f"remote:{base}"}
        assert ask(url, f"remote:{base}").json()["choices"] == ask(address, f"base:{base}").json()["choices"]
        assert error_of(ask(url, "remote:nobody"), 404)["code"] == "model_not_found"
        assert error_of(ask(url, "remote:../../etc"), 404)["code"] == "model_not_found"
        if kind == "openai":
            assert error_of(ask(url, theirs), 404)["code"] == "model_not_found"
            return
        assert there.calls == []
        pool.wanted.clear()
        assert ask(url, theirs).json()["choices"] == ask(address, taught).json()["choices"]
        assert ask(url, theirs, stream=True).text.rstrip().endswith("data: [DONE]")
        assert there.calls == [
            {"lora_name": taught, "lora_path": str(lab.workspace.adapter_folder(taught))}
        ]  # loaded once
        endpoint = reach(Settings(workspace=lab.workspace.root, **settings), theirs)
        spoken = ChatClient(endpoint).stream(theirs.removeprefix("remote:"), QUESTION, ChatSettings(temperature=0))
        assert "".join(spoken)
    finally:
        end()
        remote_end()


def test_a_server_elsewhere_that_fails_says_so_and_hides_nothing_of_ours(lab, pool, model_server, taught):
    there = RemoteServer("vllm", str(lab.model), model_server, "right")
    remote_url, remote_end = listening(there.app())
    nowhere = Settings(workspace=lab.workspace.root, remote_url="http://127.0.0.1:9")
    wrong = replace(nowhere, remote_url=remote_url, remote_key="wrong")
    blind = replace(wrong, remote_key="right", remote_workspace=Path("/not/there"))
    plain = replace(blind, remote_kind="sglang")  # asks by a route that this server has not
    try:
        for where, words in ((nowhere, "does not answer"), (wrong, "Unauthorized"), (blind, "No adapter found")):
            with pytest.raises(UserError, match=words) as caught:
                reach(where, f"remote:{taught}")
            assert "STUDIO_REMOTE" in caught.value.hint
        with pytest.raises(UserError, match="does not load adapters"):
            reach(plain, f"remote:{lab.model}:{taught}")
        with pytest.raises(UserError, match="knows no remote server"):
            reach(Settings(workspace=lab.workspace.root), "remote:x")
    finally:
        remote_end()
    url, end = listening(guarded(lab, pool, remote_url="http://127.0.0.1:9"))
    try:
        assert taught in {one.id for one in client(url).models.list()}
        assert error_of(ask(url, "remote:x"), 503)["message"].startswith("The remote server at http://127.0.0.1:9")
    finally:
        end()
    assert "right" not in repr(blind)
