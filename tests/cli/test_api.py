"""The API from a shell: its keys, its other server in the settings, and the command that lets a waiting job start."""

import json

import pytest

from studio.cli.main import run
from studio.errors import UserError
from studio.jobs.events import EventWriter, Progress
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import open_studio
from studio.playground import api_keys
from studio.settings import read_settings, worker_environment


@pytest.fixture
def studio_says(workspace, monkeypatch, capsys):
    """Runs a command in the workspace and returns (exit code, stdout)."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(workspace.root))

    def say(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out or told.err

    return say


def test_a_key_is_made_listed_without_itself_and_revoked(studio_says, workspace):
    code, told = studio_says("api-key", "new", "my notebook", "--json")
    made = json.loads(told)
    assert code == 0
    assert api_keys.is_valid(workspace, made["key"])
    code, told = studio_says("api-key", "list")
    assert made["id"] in told
    assert made["key"] not in told
    assert "sha256" not in studio_says("api-key", "list", "--json")[1]
    assert studio_says("api-key", "revoke", made["id"])[0] == 0
    assert not api_keys.is_valid(workspace, made["key"])
    assert studio_says("api-key", "revoke", made["id"])[0] == 2
    assert studio_says("api-key", "revoke", "../session_key")[0] == 2
    assert studio_says("api-key", "new", " ")[0] == 2
    assert "No keys yet" in studio_says("api-key", "list")[1]


def test_a_job_that_waits_for_a_chat_says_so_and_can_be_told_to_start(studio_says, studio):
    values = read_presets()["lora"].values({"id": "none-00000000", "sha256": ""})
    job = studio.store.create(build_spec({**values, "name": "lamp"}))
    assert studio_says("jobs", "unload-chat", job)[0] == 2  # it is not in line
    studio.catalog.enqueue(job)
    assert not studio.store.view(job).held
    EventWriter(studio.workspace.job(job) / "events.jsonl").write(Progress(phase="waiting for starter: it is in use"))
    assert "waiting for starter" in studio_says("jobs", "show", job)[1]
    assert studio_says("jobs", "unload-chat", job)[0] == 0
    assert studio.catalog.room_requests() == {job}
    studio.catalog.dequeue(job)
    assert studio.catalog.room_requests() == set()


@pytest.mark.parametrize("message", ["", " \n"])
def test_an_empty_message_is_refused_before_a_model_is_loaded(studio_says, monkeypatch, message):
    monkeypatch.setattr("studio.cli.chat.ServerPool", None)  # would be called to load it
    code, told = studio_says("chat", "--message", message)
    assert code == 2
    assert "The message is empty." in told


def test_the_other_server_is_an_address_and_its_key_goes_nowhere(workspace):
    environ = {"STUDIO_WORKSPACE": str(workspace.root), "STUDIO_REMOTE_URL": "http://gpu:8000/v1/"}
    settings = read_settings({**environ, "STUDIO_REMOTE_KEY": "canary", "STUDIO_REMOTE_WORKSPACE": "/mnt/x"})
    assert (settings.remote_url, settings.remote_kind, settings.remote_key) == ("http://gpu:8000", "vllm", "canary")
    assert "canary" not in repr(settings)
    assert "canary" not in str(worker_environment({"STUDIO_REMOTE_KEY": "canary", "PATH": "/bin"}))
    for name, value in (
        ("STUDIO_REMOTE_URL", "gpu:8000"),
        ("STUDIO_REMOTE_URL", "file:///etc/passwd"),
        ("STUDIO_REMOTE_URL", "http://user:secret@gpu"),
        ("STUDIO_REMOTE_URL", "http://gpu/?x=1"),
        ("STUDIO_REMOTE_KIND", "tgi"),
    ):
        with pytest.raises(UserError, match=name) as caught:
            read_settings({**environ, name: value})
        assert "secret" not in str(caught.value)
    open_studio(settings)
    assert "canary" not in "".join(
        file.read_text(errors="replace") for file in workspace.root.glob("*") if file.is_file()
    )
