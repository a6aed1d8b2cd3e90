"""The guard: who may ask, from where, with which password, and what a browser may do with the answer."""

import asyncio
import stat
from types import SimpleNamespace

import pytest
from starlette.testclient import WebSocketDisconnect

from studio.settings import Settings
from studio.ui import guard as guard_module
from studio.ui.guard import LOGIN_BODY_LIMIT, SESSION_SECONDS, Guard, allowed_hosts, host_name
from studio.workspace import Workspace
from tests.ui.conftest import HERE, PASSWORD, visitor

COOKIE = "studio_session_7860"


async def behind(scope, receive, send):
    """What stands behind the guard: says that it was reached."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"reached"})


@pytest.fixture
def guarded_by(workspace):
    """Makes a guard around a page that says `reached`."""

    def make(**settings):
        return Guard(behind, settings=Settings(workspace=workspace.root, **settings), workspace=workspace)

    return make


@pytest.fixture
def clock(monkeypatch):
    """The guard's clock, to be set by hand."""
    hands = SimpleNamespace(now=1_800_000_000.0)
    monkeypatch.setattr(guard_module, "time", SimpleNamespace(time=lambda: hands.now))
    return hands


def log_in(who, password=PASSWORD):
    return who.post("/login", data={"password": password})


# --- Host ---


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "127.0.0.1", "localhost:7860", "LOCALHOST", "LocalHost:80", "[::1]:7860", "[::1]"]
)
def test_the_studios_own_names_are_answered_whatever_case_and_port(guarded_by, host):
    answer = visitor(guarded_by()).get("/", headers={"host": host})
    assert (answer.status_code, answer.text) == (200, "reached")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.nip.io",
        "127.0.0.1.nip.io:7860",
        "localhost.evil.example",
        "evil-localhost",
        "gpubox.lab.evil",
        "0.0.0.0",
        "127.0.0.2",
        "2130706433",
        "[::2]:7860",
        "[::ffff:127.0.0.1]",
        "::1",
        "localhost.",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_names_are_refused_before_anything_is_asked(guarded_by, host, method):
    answer = visitor(guarded_by()).request(method, "/healthz", headers={"host": host})
    assert answer.status_code == 400
    assert "STUDIO_ALLOWED_HOSTS" in answer.text


def test_the_whole_application_refuses_other_names_and_foreign_pages(site):
    who = visitor(site.app)
    assert who.get("/", headers={"host": "evil.example"}).status_code == 400
    assert who.post("/gradio_api/queue/join", json={}, headers={"origin": "https://evil.example"}).status_code == 403
    assert who.post("/api/jobs/x/delete", headers={"origin": "null"}).status_code == 403


def test_more_names_can_be_allowed_and_no_others(guarded_by):
    who = visitor(guarded_by(allowed_hosts=("GpuBox.lab",)))
    assert who.get("/", headers={"host": "gpubox.lab:7860"}).status_code == 200
    assert who.get("/", headers={"host": "gpubox.lab.evil"}).status_code == 400


def test_listening_everywhere_allows_this_machines_own_addresses_only(workspace):
    names = allowed_hosts(Settings(workspace=workspace.root, host="0.0.0.0", password="x"))
    assert {"127.0.0.1", "localhost", "::1"} <= names
    assert not {"*", "evil.example", ""} & names


@pytest.mark.parametrize(
    ("host", "name"),
    [("A.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("a:b:80", "a:b"), ("", "")],
)
def test_a_host_is_split_from_its_port(host, name):
    assert host_name(host) == name


# --- Origin ---


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1:9999",
        "http://127.0.0.1",
        "http://localhost:7860",
        "file://",
    ],
)
def test_a_request_from_another_page_is_refused(guarded_by, method, origin):
    answer = visitor(guarded_by()).request(method, "/", headers={"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", [HERE, HERE.replace("http", "https")])
def test_the_page_itself_may_ask(guarded_by, origin):
    assert visitor(guarded_by()).post("/", headers={"origin": origin}).text == "reached"


@pytest.mark.parametrize("site_word", ["cross-site", "same-site"])
def test_the_browsers_own_word_about_a_foreign_page_counts_when_no_origin_is_sent(guarded_by, site_word):
    who = visitor(guarded_by())
    assert who.post("/", headers={"sec-fetch-site": site_word}).status_code == 403
    # Following a link from elsewhere is a GET that changes nothing.
    assert who.get("/", headers={"sec-fetch-site": site_word}).status_code == 200


@pytest.mark.parametrize("site_word", ["same-origin", "none"])
def test_the_browsers_word_about_our_own_page_lets_through(guarded_by, site_word):
    assert visitor(guarded_by()).post("/", headers={"sec-fetch-site": site_word}).status_code == 200


def test_no_answer_of_the_application_invites_another_origin(site):
    who = visitor(site.app)
    for path in ("/", "/config", "/healthz", "/gradio_api/info", "/api/system", "/ui-assets/studio.js"):
        for origin in ("https://evil.example", "null", HERE):
            answer = who.get(path, headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin", HERE) == HERE, path


def test_a_websocket_is_closed(site):
    with pytest.raises(WebSocketDisconnect) as caught, visitor(site.app).websocket_connect("/gradio_api/queue/join"):
        pass
    assert caught.value.code == 1008


# --- headers ---


def test_the_page_has_a_policy_that_names_no_other_host(site):
    answer = visitor(site.app).get("/")
    policy = answer.headers["content-security-policy"]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == parts["form-action"] == "'self'"
    assert parts["frame-ancestors"] == parts["object-src"] == "'none'"
    for sources in parts.values():
        assert "*" not in sources
        assert "://" not in sources
        assert "http" not in sources
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/ui-assets/studio.js", "/ui-assets/studio.css", "/api/system", "/healthz", "/config"]
)
def test_nothing_is_sniffed(site, path):
    assert visitor(site.app).get(path).headers["x-content-type-options"] == "nosniff"


def test_health_says_when_nobody_keeps_the_queue(site):
    answer = visitor(site.app).get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "queue stopped"}


# --- password ---


def every_route(routes, prefix=""):
    """(path, methods) of everything the application answers, Gradio's routes and included routers as well."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from every_route(inner.routes, prefix)
            continue
        path = prefix + route.path
        if getattr(route, "routes", None):
            yield from every_route(route.routes, path.rstrip("/"))
        else:
            yield path, sorted(getattr(route, "methods", None) or ["GET"])


def test_without_the_cookie_every_route_asks_for_the_password(locked_site):
    who = visitor(locked_site.app)
    routes = list(every_route(locked_site.app.routes))
    paths = {path for path, _ in routes}
    # The sweep would prove nothing if it did not see the routes that matter.
    assert {
        "/config",
        "/gradio_api/queue/join",
        "/gradio_api/upload",
        "/api/live",
        "/api/jobs/{job_id}/{action}",
        "/v1/chat/completions",
    } <= paths
    assert len(paths) > 40
    for path, methods in routes:
        address = path.replace("{path:path}", "x").replace("{", "").replace("}", "")
        for method in {*methods, "GET", "POST"}:
            if path in ("/login", "/healthz"):
                continue
            answer = who.request(method, address)
            assert answer.status_code == 401, f"{method} {address} gave {answer.status_code}"
            told = answer.json()["error"]["code"] if answer.text and path.startswith("/v1/") else answer.text
            assert told in ("Log in first.", "invalid_api_key", "")


def test_only_login_and_health_are_open(locked_site):
    who = visitor(locked_site.app)
    assert who.get("/healthz").status_code == 503
    assert 'type="password"' in who.get("/login").text
    for path in (
        "/login/",
        "/LOGIN",
        "/healthz/",
        "//healthz",
        "/healthz/../config",
        "/login%2f..%2fconfig",
        "/config?/login",
    ):
        assert who.get(path).status_code == 401, path


def test_a_person_is_led_to_the_login_page(locked_site):
    answer = visitor(locked_site.app).get("/", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"


def test_the_right_password_opens_and_the_cookie_is_the_browsers_alone(locked_site):
    who = visitor(locked_site.app, address="10.0.0.1")
    answer = log_in(who)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    name, *flags = [part.strip() for part in answer.headers["set-cookie"].split(";")]
    assert name.startswith(f"{COOKIE}=")
    assert set(flags) == {"Path=/", "HttpOnly", "SameSite=Lax", f"Max-Age={SESSION_SECONDS}"}
    assert who.get("/config").status_code == 200
    assert who.get("/").status_code == 200
    assert PASSWORD not in answer.headers["set-cookie"]


def test_a_wrong_password_is_told_so_and_five_of_them_lock_that_address_for_a_minute(guarded_by, clock):
    guard = guarded_by(password=PASSWORD)
    who = visitor(guard, address="10.0.0.2")
    for _ in range(5):
        answer = log_in(who, "guess")
        assert answer.status_code == 401
        assert "not the password" in answer.text
    for password in ("guess", PASSWORD):
        assert log_in(who, password).status_code == 429
    assert log_in(visitor(guard, address="10.0.0.3")).status_code == 303, "others are not locked out"
    clock.now += 61
    assert log_in(who).status_code == 303


def test_attempts_while_locked_do_not_prolong_the_lock(guarded_by, clock):
    who = visitor(guarded_by(password=PASSWORD))
    for _ in range(5):
        log_in(who, "guess")
    for _ in range(50):
        clock.now += 1
        assert log_in(who, "guess").status_code == 429
    clock.now += 11
    assert log_in(who).status_code == 303


@pytest.mark.parametrize("body", [b"", b"password=", b"other=x", b"password", b"\xff\xfe", b"password=%ff%fe", b"{}"])
def test_a_form_that_is_not_one_is_a_wrong_password(guarded_by, body):
    answer = visitor(guarded_by(password=PASSWORD)).post("/login", content=body)
    assert answer.status_code == 401


def test_a_long_login_is_not_read_to_its_end(workspace):
    taken = []

    async def receive():
        taken.append(1)
        return {"type": "http.request", "body": b"x" * 1024, "more_body": True}

    async def exchange():
        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/login", "client": ("10.0.0.4", 1),
            "headers": [(b"host", b"127.0.0.1:7860")],
        }  # fmt: skip
        settings = Settings(workspace=workspace.root, password=PASSWORD)
        await Guard(behind, settings=settings, workspace=workspace)(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(exchange()) == 401
    assert len(taken) <= LOGIN_BODY_LIMIT // 1024 + 1


def test_a_cookie_that_was_changed_opens_nothing(guarded_by, clock):
    guard = guarded_by(password=PASSWORD)
    who = visitor(guard)
    value = log_in(who).headers["set-cookie"].partition(";")[0].partition("=")[2]
    assert who.get("/").text == "reached"
    expires, _, signature = value.partition(".")
    forged = [
        f"{int(expires) + 1}.{signature}",
        f"{expires}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
        f"{expires}.",
        f".{signature}",
        signature,
        f"{expires}.{signature}.x",
        "",
        "²²².x",
    ]
    for cookie in forged:
        header = f"{COOKIE}={cookie}".encode()
        assert visitor(guard).get("/", headers={"cookie": header}).status_code == 401, cookie
    for header in ("=;=;", f"{COOKIE}", "a" * 9000, f'{COOKIE}="', "studio_session_7861=" + value):
        assert visitor(guard).get("/", headers={"cookie": header}).status_code == 401, header
    assert visitor(guard).get("/", headers={"cookie": f"a=b; {COOKIE}={value}"}).text == "reached"


def test_a_session_ends_after_a_week(guarded_by, clock):
    who = visitor(guarded_by(password=PASSWORD))
    log_in(who)
    header = {"cookie": f"{COOKIE}={who.cookies[COOKIE]}"}
    who.cookies.clear()
    clock.now += SESSION_SECONDS - 1
    assert who.get("/", headers=header).status_code == 200
    clock.now += 2
    assert who.get("/", headers=header).status_code == 401


def test_a_changed_password_ends_every_session_and_a_restart_none(guarded_by):
    who = visitor(guarded_by(password=PASSWORD))
    log_in(who)
    header = {"cookie": f"{COOKIE}={who.cookies[COOKIE]}"}
    assert visitor(guarded_by(password=PASSWORD)).get("/", headers=header).status_code == 200
    assert visitor(guarded_by(password="another")).get("/", headers=header).status_code == 401


def test_another_workspaces_cookie_opens_nothing(guarded_by, tmp_path):
    who = visitor(guarded_by(password=PASSWORD))
    log_in(who)
    elsewhere = Workspace(tmp_path / "other").prepare()
    guard = Guard(behind, settings=Settings(workspace=elsewhere.root, password=PASSWORD), workspace=elsewhere)
    answer = visitor(guard).get("/", headers={"cookie": f"{COOKIE}={who.cookies[COOKIE]}"})
    assert answer.status_code == 401


def test_the_key_that_signs_is_its_owners_alone(guarded_by, workspace):
    guarded_by(password=PASSWORD)
    assert stat.S_IMODE(workspace.session_key.stat().st_mode) == 0o600
    assert len(bytes.fromhex(workspace.session_key.read_text())) == 32
    for damaged in (b"", b"\xff\x00" * 16, b"zz"):  # as a crash may leave it: an empty key would let everybody sign
        workspace.session_key.write_bytes(damaged)
        guarded_by(password=PASSWORD)
        assert len(bytes.fromhex(workspace.session_key.read_text())) == 32
    assert stat.S_IMODE(workspace.root.stat().st_mode) == 0o700
