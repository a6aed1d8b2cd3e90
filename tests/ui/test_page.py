"""The built page: what it is made of, what it loads, and what a hand-made request to its events gets."""

import gzip
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
import yaml
from gradio.layouts import Tab

from studio.cli.main import run
from studio.errors import UserError
from studio.jobs.studio import SAMPLES
from studio.listening import listening_socket
from studio.settings import Settings
from studio.ui import files, i18n
from studio.ui.front_page import SCRIPTS
from studio.ui.guard import session_key
from studio.ui.i18n import all_fields, language_of, words
from studio.ui.server import listen
from tests.ui.conftest import build_site, visitor

ASSETS = files.FOLDER
FOREIGN = re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)
# A namespace and a comment's link are names, never fetched.
HARMLESS = re.compile(r"https?://(www\.w3\.org|scripts\.sil\.org|openfontlicense\.org)")


# --- the blocks ---


def test_the_page_has_its_tabs(site):
    tabs = [block.id for block in site.blocks.blocks.values() if isinstance(block, Tab)]
    expected = ["data", "train", "memory", "jobs", "adapters", "playground", "arena"]
    assert [name for name in tabs if name in expected] == expected


def test_no_component_pins_a_connection_or_a_file(site):
    kinds = {block.get_block_name() for block in site.blocks.blocks.values()}
    for unwanted in ("state", "timer", "loginbutton", "fileexplorer", "plot", "lineplot", "deeplinkbutton"):
        assert unwanted not in kinds
    assert site.blocks.allowed_paths == []


def test_every_event_is_private_and_the_way_around_the_queue_is_closed(site):
    functions = [function for function in site.blocks.fns.values() if function.fn is not None]
    assert len(functions) > 10
    assert {function.api_visibility for function in functions} == {"private"}
    assert site.blocks.api_open is False
    assert site.blocks.show_error is False
    assert site.blocks.enable_monitoring is False
    answer = visitor(site.app).post("/gradio_api/run/start", json={"data": []})
    assert answer.status_code == 404


def test_what_shows_no_progress_costs_the_page_nothing(site):
    """The page tells each of these components again and again that it is waited for."""
    told = {
        one["api_name"]: len(one["outputs"] if one["show_progress_on"] is None else one["show_progress_on"])
        for one in site.blocks.config["dependencies"]
    }
    assert len(told) > 60
    assert sum(told.values()) < 12, {name: count for name, count in told.items() if count}


def test_only_the_chat_streams_its_answer(site):
    streams = [function.name for function in site.blocks.fns.values() if function.types_generator]
    assert set(streams) == {"ask", "again", "edited", "score"}


def test_every_option_has_a_control_that_can_be_used(site):
    controls = {block.elem_id: block for block in site.blocks.blocks.values() if getattr(block, "elem_id", None)}
    for key, _ in all_fields():
        if key in ("name", "base_model"):
            continue
        control = controls[f"option-{key.replace('.', '-')}"]
        assert control.interactive
        assert control.get_config()["label"]


# --- the page and its files ---


def test_the_page_names_no_other_host(site):
    page = visitor(site.app).get("/").text
    assert "<title>Fine-tuning Studio</title>" in page
    # What Gradio's own configuration says in JSON is not loaded; tags and styles are.
    loaded = re.findall(r"""(?:src|href|action|content)=["']([^"']+)["']|url\(([^)]+)\)""", page)
    addresses = [first or second for first, second in loaded]
    assert len(addresses) > 5
    assert [address for address in addresses if FOREIGN.match(address.strip("'\""))] == []


@pytest.mark.parametrize("name", [*SCRIPTS, "studio.css"])
def test_our_scripts_and_styles_name_no_other_host(name):
    text = HARMLESS.sub("", (ASSETS / name).read_text(encoding="utf-8"))
    assert FOREIGN.findall(re.sub(r"//\s.*", "", text)) == []


def test_a_widget_never_makes_markup_of_content():
    for name in SCRIPTS:
        text = (ASSETS / name).read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in text, f"{word} in {name}"


def test_everything_the_page_names_is_served(site):
    who = visitor(site.app)
    page = who.get("/").text
    named = set(re.findall(r'(?:src|href)="(ui-assets/[^"]+)"', page))
    assert {f"ui-assets/{name}" for name in (*SCRIPTS, "studio.css")} <= {one.partition("?")[0] for one in named}
    style = (ASSETS / "studio.css").read_text(encoding="utf-8")
    fonts = re.findall(r"url\(['\"]?([^'\")]+\.woff2)", style)
    assert len(fonts) == 2
    for address in (*named, *(f"ui-assets/{font}" for font in fonts)):
        answer = who.get(f"/{address}")
        assert answer.status_code == 200, address
        if address.endswith(".woff2"):
            assert answer.content[:4] == b"wOF2"


def test_our_files_lead_nowhere_else(site):
    who = visitor(site.app)
    for path in ("../files.py", "..%2ffiles.py", "%2e%2e/files.py", "fonts/../../files.py", "/etc/passwd", ""):
        answer = who.get(f"/ui-assets/{path}")
        assert answer.status_code in (404, 405), path
        assert "mount_files" not in answer.text


def test_plotly_comes_from_its_package_compressed(site):
    who = visitor(site.app)
    script = files.plotly_script().read_bytes()
    plain = who.get("/ui-assets/plotly.min.js", headers={"accept-encoding": "identity"})
    assert plain.content == script
    packed = who.get("/ui-assets/plotly.min.js", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-type"].startswith("text/javascript")
    assert packed.content == script, "the client unpacks it"
    assert int(packed.headers["content-length"]) < len(script) / 2
    assert gzip.decompress(files.compressed_plotly()) == script


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh"),
        ({"accept-language": "de-DE,zh;q=0.1"}, "en"),
        ({"accept-language": "zh", "cookie": "studio_language=en"}, "en"),
        ({"cookie": "a=b; studio_language=zh"}, "zh"),
        ({"cookie": "studio_language=</script><script>"}, "en"),
        ({"cookie": "=;\x00"}, "en"),
    ],
)
def test_the_users_choice_of_language_comes_before_the_browsers(headers, language):
    assert language_of(headers) == language


def test_the_page_comes_in_the_language_asked_for(site):
    page = visitor(site.app).get("/", headers={"accept-language": "zh-CN"}).text
    assert f"<title>{words('zh')['app_title']}</title>" in page
    table = json.loads(re.search(r"window\.STUDIO=\{words:(\{.*?\}),language:", page).group(1))
    assert table == words("zh")


# --- words ---


def test_both_languages_have_the_same_words():
    english, chinese = (
        yaml.safe_load((i18n.FOLDER / f"{language}.yaml").read_text(encoding="utf-8")) for language in ("en", "zh")
    )
    assert not set(english) - set(chinese)
    for key, text in {**english, **chinese}.items():
        assert text.strip(), key
    assert set(words("en")) == set(words("zh"))


def test_every_option_has_a_chinese_title_and_help():
    for key, _ in all_fields():
        for part in ("title", "help"):
            text = words("zh")[f"field.{key}.{part}"]
            assert part == "title" or re.search(r"[\u4e00-\u9fff]", text), f"{key}: {text}"


def test_every_word_that_the_scripts_use_exists():
    used = set()
    for name in SCRIPTS:
        used |= set(re.findall(r"""\bt\(["']([a-z_.]+)["']\s*[,)]""", (ASSETS / name).read_text(encoding="utf-8")))
    assert {key for key in used if key not in words("en")} == set()


# --- hand-made requests ---


@contextmanager
def served(app):
    """The application behind a real server, since events stream; its address."""
    listener = listening_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A served application with a data set in it: (site, address)."""
    site = build_site(tmp_path_factory.mktemp("attacked") / "workspace")
    site.studio.sample(SAMPLES / "lighthouse-keeper.jsonl")
    session_key(site.studio.workspace)
    with served(site.app) as address:
        yield site, address


def default_inputs(blocks, function):
    """What an untouched page would send."""
    values = [component.get_config().get("value") for component in function.inputs]
    return [None if isinstance(value, dict) else value for value in values]


OF_A_COLUMN = re.compile(r"-[a-g]$")


def traps(path):
    """One file of the server, disguised in every way that an event's data has room for."""
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "x.jsonl"}
    return [file, [file], {"value": file}, [{"role": "user", "content": [{"type": "file", "file": file}]}]]


def read_like_an_earlier_one(inputs, place):
    """Options of the form are all read alike, and so are columns of the chat: the first of each kind stands for all."""
    kinds = [
        (one.get_block_name(), getattr(one, "allow_custom_value", None))
        if str(one.elem_id).startswith("option-") or OF_A_COLUMN.search(str(one.elem_id))
        else None
        for one in inputs
    ]
    return kinds[place] is not None and kinds[place] in kinds[:place]


def answers_to(client, calls):
    """Send all calls to the queue as one page does and return the text of every answer."""
    session, waiting = "attack", set()
    for number, data in calls:
        body = {"data": data, "fn_index": number, "session_hash": session, "event_data": None}
        answer = client.post("/gradio_api/queue/join", json=body)
        assert answer.status_code == 200, answer.text
        waiting.add(answer.json()["event_id"])
    lines = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            lines.append(line)
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                waiting.discard(message["event_id"])
            if not waiting:
                break
    assert not waiting
    return "\n".join(lines)


def copies(uploads):
    return sorted(path for path in uploads.rglob("*") if path.is_file())


def test_no_event_reads_a_file_of_the_server_in_any_place(attacked):
    """Every event × every input × every disguise: no content comes back, nothing is copied to where it is served."""
    site, address = attacked
    workspace = site.studio.workspace
    before, jobs = copies(workspace.uploads), site.studio.store.ids()
    calls, tried = [], set()
    for number, function in site.blocks.fns.items():
        if not function.queue or function.fn is None:
            continue
        inputs = default_inputs(site.blocks, function)
        for place, component in enumerate(function.inputs):
            if read_like_an_earlier_one(function.inputs, place):
                continue
            kind = component.get_block_name()
            every = kind in ("chatbot", "file", "textbox", "html") and component._id not in tried
            tried.add(component._id)
            disguises = [*traps("/etc/passwd"), *traps(workspace.catalog)] if every else traps(workspace.catalog)[:1]
            calls += [(number, [*inputs[:place], trap, *inputs[place + 1 :]]) for trap in disguises]
    assert len(calls) > 60
    with httpx.Client(base_url=address, timeout=120) as client:
        told = answers_to(client, calls)
    assert "root:" not in told
    assert "SQLite format" not in told
    assert "Traceback" not in told
    assert copies(workspace.uploads) == before
    assert site.studio.store.ids() == jobs


def test_no_event_fetches_an_address(attacked):
    """What a file's path or url names is never asked for by the server: a listener of ours hears nothing."""
    site, address = attacked
    with socket.create_server(("127.0.0.1", 0)) as canary:
        there = f"http://127.0.0.1:{canary.getsockname()[1]}/x.jsonl"
        calls, tried = [], set()
        for number, function in site.blocks.fns.items():
            inputs = default_inputs(site.blocks, function)
            for place, component in enumerate(function.inputs):
                kinds = ("file", "dropdown", "chatbot", "textbox")
                alike = read_like_an_earlier_one(function.inputs, place)
                if function.queue and not alike and component.get_block_name() in kinds and component._id not in tried:
                    tried.add(component._id)
                    for trap in (*traps(there), {"path": "x", "url": there, "meta": {"_type": "gradio.FileData"}}):
                        calls.append((number, [*inputs[:place], trap, *inputs[place + 1 :]]))
        with httpx.Client(base_url=address, timeout=120) as client:
            answers_to(client, calls)
        canary.settimeout(0.2)
        with pytest.raises(TimeoutError):
            canary.accept()


def test_a_file_that_was_uploaded_gets_through(attacked):
    site, address = attacked
    number = next(number for number, function in site.blocks.fns.items() if function.name == "upload")
    rows = b'{"instruction": "a", "output": "b"}\n{"instruction": "c", "output": "d"}\n'
    with httpx.Client(base_url=address, timeout=120) as client:
        (path,) = client.post("/gradio_api/upload", files=[("files", ("mine.jsonl", rows))]).json()
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "mine.jsonl"}
        inputs = default_inputs(site.blocks, site.blocks.fns[number])
        told = answers_to(client, [(number, [[file], *inputs[1:]])])
    assert '"success":true' in told
    task = re.search(r'"task":\s*"(\w+)"', told)[1]
    with httpx.Client(base_url=address, timeout=60) as client:
        while client.get(f"/api/datasets/tasks/{task}").json()["state"] == "running":
            time.sleep(0.1)
    assert "mine.jsonl" in [record.source_name for record in site.studio.datasets()]


@pytest.mark.parametrize("file", ["catalog.sqlite", "session_key", "studio.lock", "datasets"])
def test_what_the_workspace_keeps_is_not_served(attacked, file):
    site, address = attacked
    path = str(site.studio.workspace.root / file)
    spellings = [
        path, path.upper(), path + ".", path + "/", f"{site.studio.workspace.uploads}/../{file}", "/etc/passwd",
        f"{site.studio.workspace.uploads}/%2e%2e/{file}", path.replace("/", "//"), f"file://{path}", f"../{file}",
    ]  # fmt: skip
    with httpx.Client(base_url=address) as client:
        for spelling in spellings:
            for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
                answer = client.get(f"{route}{spelling}")
                assert answer.status_code in (403, 404), f"{route}{spelling}"
                assert b"SQLite" not in answer.content
                assert b"root:" not in answer.content


def test_an_uploaded_page_comes_back_as_a_download_never_as_a_page(attacked):
    _, address = attacked
    with httpx.Client(base_url=address) as client:
        for name in ("x.html", "x.svg", "<script>.html", "../../x.html"):
            content = ("files", (name, b"<script>alert(1)</script>", "text/html"))
            (path,) = client.post("/gradio_api/upload", files=[content]).json()
            answer = client.get(f"/gradio_api/file={path}")
            assert answer.headers["content-disposition"].startswith("attachment"), name
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert Path(path).name == "x.html"
    assert "uploads" in Path(path).parts


def test_a_foreign_page_cannot_upload(attacked):
    site, address = attacked
    before = copies(site.studio.workspace.uploads)
    with httpx.Client(base_url=address, headers={"origin": "https://evil.example"}) as client:
        assert client.post("/gradio_api/upload", files=[("files", ("x.jsonl", b"{}"))]).status_code == 403
    assert copies(site.studio.workspace.uploads) == before


def test_the_server_has_no_proxy_and_no_documentation_of_its_routes(site):
    who = visitor(site.app)
    there = "http://127.0.0.1:1/"
    for path in (f"/proxy={there}", f"/gradio_api/proxy={there}", "/docs", "/redoc", "/monitoring"):
        assert who.get(path).status_code in (400, 403, 404, 405), path


# --- the port ---


def test_the_end_of_an_answer_does_not_wait_for_its_beginning_to_arrive(workspace):
    with (
        listen(Settings(workspace=workspace.root, port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_told_with_its_owner(workspace):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} is in use by .*process") as caught:
            listen(Settings(workspace=workspace.root, port=port))
    assert f"PORT={port + 1}" in caught.value.hint


def test_serving_on_a_port_in_use_ends_with_code_2(workspace, monkeypatch, capsys):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(workspace.root))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--port", str(port)]) == 2
    assert f"Port {port} is in use" in capsys.readouterr().err


def test_an_address_that_is_not_ours_is_a_sentence(workspace):
    with pytest.raises(UserError, match=r"203\.0\.113\.9:7860 cannot be used"):
        listen(Settings(workspace=workspace.root, host="203.0.113.9", password="x"))
