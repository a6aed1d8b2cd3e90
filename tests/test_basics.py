"""Settings, workspace, catalog, base models, hub: the floor that everything stands on."""

import json
import os
import sqlite3
import stat
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from studio import hub
from studio import workspace as workspace_module
from studio.base_models import fingerprint, model_folder, read_config, read_facts
from studio.catalog import Catalog
from studio.errors import UserError
from studio.jobs.studio import keep_studio
from studio.settings import WORKER_ENVIRONMENT, Settings, read_settings, worker_environment
from studio.workspace import Workspace, WorkspaceInUse, check_id, new_id, read_json, write_json


def test_settings_have_defaults_and_the_command_line_wins():
    settings = read_settings({"STUDIO_PORT": "8000"}, port=9000)
    assert settings.host == "127.0.0.1"
    assert settings.port == 9000
    assert settings.workspace.is_absolute()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"STUDIO_PORT": "seven"}, "STUDIO_PORT=seven"),
        ({"STUDIO_PORT": "70000"}, "STUDIO_PORT=70000"),
        ({"STUDIO_HOST": "0.0.0.0"}, "0.0.0.0"),
        ({"GRADIO_SHARE": "1"}, "GRADIO_SHARE"),
        ({"GRADIO_ALLOWED_PATHS": "/"}, "GRADIO_ALLOWED_PATHS"),
    ],
)
def test_settings_that_cannot_be_used_are_named(environ, named):
    with pytest.raises(UserError, match=named) as caught:
        read_settings(environ)
    assert caught.value.hint


@pytest.mark.parametrize("port", [0, 99999])
def test_a_port_of_the_command_line_is_checked_and_named_as_such(port):
    with pytest.raises(UserError, match=f"--port={port} is not"):
        read_settings({"STUDIO_PORT": "8000"}, port=port)


def test_another_host_needs_a_password():
    assert read_settings({"STUDIO_HOST": "0.0.0.0", "STUDIO_PASSWORD": "x"}).host == "0.0.0.0"


def test_a_password_is_not_shown():
    assert "secret-word" not in repr(read_settings({"STUDIO_PASSWORD": "secret-word"}))


def test_a_worker_sees_only_what_is_on_the_list():
    environ = {"PATH": "/bin", "HF_TOKEN": "hf_canary", "AWS_SECRET": "x", "STUDIO_PASSWORD": "y", "HOME": "/h"}
    given = worker_environment(environ)
    assert given["PATH"] == "/bin"
    assert not {"HF_TOKEN", "AWS_SECRET", "STUDIO_PASSWORD"} & set(given)
    assert not any("TOKEN" in name for name in WORKER_ENVIRONMENT)
    assert given["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "value",
    ["", "..", "../x", "a/b", "/etc", "a\\b", "A", "a b", "-a", "a\n", "a" * 65, ".hidden", "a\0", "ａ", None, 3],
)
def test_nothing_but_an_id_becomes_a_part_of_a_path(workspace, value):
    for place in (workspace.job, workspace.dataset, workspace.model, workspace.server):
        with pytest.raises(UserError):
            place(value)


def test_ids_are_readable_and_new():
    first, second = new_id("My Data (1).jsonl"), new_id("My Data (1).jsonl")
    assert first != second
    assert first.startswith("my-data-1-jsonl-")
    assert check_id(first, "x") == first
    assert check_id(new_id("数据"), "x").startswith("item-")
    for what, told in (("adapter", "an adapter"), ("job", "a job")):
        with pytest.raises(UserError, match=f"'No id' is not the id of {told}"):
            check_id("No id", what)


def test_leftovers_of_killed_imports_are_swept_when_a_studio_starts(workspace):
    homes = (workspace.adapters, workspace.datasets, workspace.jobs)
    for home in homes:
        for name, hours in ((".staging-old", 25), (".staging-new", 1), (".base-norms", 25), ("kept-00000000", 25)):
            (home / name / "inside").mkdir(parents=True)
            os.utime(home / name, (time.time() - hours * 3600,) * 2)
    with keep_studio(Settings(workspace=workspace.root)):
        pass
    for home in homes:
        assert {path.name for path in home.iterdir()} == {".staging-new", ".base-norms", "kept-00000000"}


def test_the_workspace_is_for_its_owner_alone(workspace):
    for folder in (workspace.root, workspace.jobs, workspace.datasets):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_workspace_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        Workspace(tmp_path / "file" / "inside").prepare()


def test_an_uploaded_file_must_lie_in_the_uploads(workspace, tmp_path):
    inside = workspace.uploads / "abc" / "rows.jsonl"
    inside.parent.mkdir()
    inside.write_text("{}")
    assert workspace.uploaded_file(str(inside)) == inside.resolve()
    link = workspace.uploads / "link.jsonl"
    link.symlink_to("/etc/passwd")
    for path in ("/etc/passwd", str(workspace.uploads / ".." / "catalog.sqlite"), str(link), str(workspace.uploads)):
        with pytest.raises(UserError):
            workspace.uploaded_file(path)


def test_writing_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    write_json(file, {"a": 1})

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace_module.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"a": 2})
    assert read_json(file) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_two_keepers_of_one_workspace_are_refused(workspace):
    with workspace.lock(), pytest.raises(WorkspaceInUse, match="process"), Workspace(workspace.root).lock():
        pass
    with workspace.lock():
        pass


def test_the_line_keeps_its_order_and_survives(tmp_path):
    catalog = Catalog(tmp_path / "catalog.sqlite")
    for job in ("one", "two", "three", "one"):
        catalog.enqueue(job)
    assert catalog.dequeue("two")
    assert not catalog.dequeue("two")
    assert Catalog(tmp_path / "catalog.sqlite").waiting() == ["one", "three"]
    catalog.request_stop("one")
    first = catalog.stop_requests()
    catalog.request_stop("one")
    assert catalog.stop_requests() == first
    catalog.enqueue("one")
    assert catalog.stop_requests() == {}


def test_a_failed_transaction_changes_nothing(tmp_path, monkeypatch):
    catalog = Catalog(tmp_path / "catalog.sqlite")
    catalog.enqueue("one")

    def delete_and_fail():
        with catalog._transaction() as connection:
            connection.execute("DELETE FROM queue")
            connection.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.Error):
        delete_and_fail()
    assert catalog.waiting() == ["one"]


def test_facts_of_a_model_are_read_without_loading_it(tiny_model):
    facts = read_facts("tiny", tiny_model)
    assert facts.model_type == "llama"
    assert facts.num_hidden_layers == 2
    assert facts.has_chat_template
    assert facts.parameters == facts.vocab_size * 64 + 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64) + 64


def test_the_fingerprint_tells_models_apart(tiny_model, tmp_path):
    import shutil

    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(tiny_model)
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert fingerprint(copy) != fingerprint(tiny_model)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}}, "Python code"),
        ({"_attn_implementation": "attacker/kernel"}, "_attn_implementation"),
        ({"attn_implementation": "attacker/kernel"}, "attn_implementation"),
        ({"model_type": ""}, "model_type"),
    ],
)
def test_a_config_that_would_run_foreign_code_is_refused(tmp_path, change, named):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **change}))
    with pytest.raises(UserError, match=named):
        read_config(tmp_path)


def test_weights_as_pickle_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="pickle"):
        read_facts("x", tmp_path)


def test_a_missing_weight_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}')
    with pytest.raises(UserError, match="model-00002"):
        read_facts("x", tmp_path)


@pytest.mark.parametrize(
    "name", ["no/such/model", "", "../no-such-folder", "with space/model", "/nowhere/at/all", "~/nowhere"]
)
def test_a_base_model_that_is_nothing_is_a_sentence(tmp_path, name):
    with pytest.raises(UserError) as caught:
        model_folder(name, tmp_path)
    assert caught.value.hint


def test_local_folders_can_be_fenced_in(tmp_path):
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    for folder in (allowed / "model", other):
        folder.mkdir(parents=True)
    assert model_folder(str(allowed / "model"), tmp_path, (allowed,)) == allowed / "model"
    for path in (other, allowed / ".." / "other", Path("/etc")):
        with pytest.raises(UserError, match="operator"):
            model_folder(str(path), tmp_path, (allowed,))


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "auth login"), (403, "licence"), (404, "no model"), (429, "slow down"), (500, "error 500")],
)
def test_the_hub_answers_in_sentences(monkeypatch, status, word):
    with serve_status(status) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        with pytest.raises(UserError) as caught:
            hub.check_hub_model("some/model", timeout=5)
    assert word in str(caught.value)
    assert "some/model" in str(caught.value) or status in (429, 500)


def test_no_network_is_a_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        hub.check_hub_model("some/model", timeout=2)


def test_a_connection_that_breaks_within_the_hubs_library_is_a_sentence(monkeypatch, tmp_path):
    def breaks(*unused, **named):
        httpx2.get("http://127.0.0.1:9")  # the client of huggingface_hub, whose errors are not those of httpx

    monkeypatch.setattr("huggingface_hub.snapshot_download", breaks)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", breaks)
    with pytest.raises(UserError, match=r"some/model could not be fetched: the connection broke\."):
        hub.download("some/model", tmp_path)
    for ask in (lambda: hub.adapter_bytes("some/lora", 9), lambda: hub.download_adapter("some/lora", tmp_path)):
        with pytest.raises(UserError, match="does not answer, so some/lora"):
            ask()


@pytest.mark.parametrize("hub_error", [403, 404])
def test_what_the_hub_answers_is_not_taken_for_a_broken_connection(monkeypatch, tmp_path, hub_error):
    from huggingface_hub.errors import HfHubHTTPError

    def refuses(*unused, **named):
        asked = httpx2.Request("GET", "http://hub/some/model")
        raise HfHubHTTPError("no", response=httpx2.Response(hub_error, request=asked))

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuses)
    for ask in (hub.download, hub.download_adapter):
        with pytest.raises(UserError, match="gated|has no model"):
            ask("some/model", tmp_path)


class serve_status:
    """A web server on loopback that answers everything with one status."""

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *args) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_an_adapter_is_a_job_a_checkpoint_or_imported_and_nothing_outside(workspace: Workspace) -> None:
    assert workspace.adapter_folder("keeper-1") == workspace.jobs / "keeper-1" / "adapter"
    assert workspace.adapter_folder("keeper-1@20") == workspace.jobs / "keeper-1" / "checkpoints" / "checkpoint-20"
    (workspace.adapters / "gift-1" / "adapter").mkdir(parents=True)
    assert workspace.adapter_folder("gift-1") == workspace.adapters / "gift-1" / "adapter"
    for wrong in ("../etc", "keeper-1@../../x", "keeper-1@", "@3", "keeper-1@1@2", "a/b"):
        with pytest.raises(UserError):
            workspace.adapter_folder(wrong)
