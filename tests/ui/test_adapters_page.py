"""/api/adapters: bringing in, looking into and deleting adapters as a browser asks for it, also a hand-made one."""

import json
import time
import zipfile

import pytest

from studio import workspace as names
from studio.adapters.bundle import CONFIG, WEIGHTS
from studio.settings import Settings
from studio.ui.adapter_room import AdapterRoom
from studio.ui.i18n import words
from tests.adapters.conftest import lora_files
from tests.ui.conftest import build_site, visitor


@pytest.fixture(scope="module")
def shelf_site(tmp_path_factory, tiny_model):
    """A site whose operator offers a folder, with a job of the tiny model so that its base is known."""
    offered = tmp_path_factory.mktemp("offered")
    site = build_site(tmp_path_factory.mktemp("shelf") / "workspace", data_roots=(offered,))
    lora_files(offered / "theirs" / "lamp")
    (offered / "link").symlink_to("/etc")
    job = site.studio.workspace.job("keeper-00000001")
    lora_files(job / names.ADAPTER)
    spec = {"name": "keeper", "base_model": str(tiny_model), "objective": {"name": "sft"}, "tuner": {"name": "lora"}}
    (job / names.SPEC).write_text(json.dumps({**spec, "dataset": {"id": "rows-00000000", "sha256": ""}}))
    return site


@pytest.fixture
def asks(shelf_site):
    return visitor(shelf_site.app)


def ended(asks, answer):
    """What a task came to."""
    assert answer.status_code == 200, answer.text
    for _ in range(600):
        view = asks.get(f"/api/adapters/tasks/{answer.json()['task']}").json()
        if view["state"] != "running":
            return view
        time.sleep(0.1)
    raise AssertionError("the task does not end")


def refusal(answer):
    assert answer.status_code == 400
    return answer.json()["error"]["message"]


def test_files_are_uploaded_brought_in_renamed_looked_into_and_deleted(asks, shelf_site, tmp_path, tiny_model):
    folder = lora_files(tmp_path / "mine")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name in (CONFIG, WEIGHTS):
            archive.write(folder / name, f"mine/{name}")
    with (tmp_path / "mine.zip").open("rb") as file:
        paths = asks.post("/gradio_api/upload", files={"files": ("mine.zip", file)}).json()
    first = ended(asks, asks.post("/api/adapters/upload", json={"paths": paths}))
    assert (first["state"], first["error"]["message"]) == ("failed", "The adapter does not say its base model.")
    chinese = asks.get(f"/api/adapters/tasks/{first['id']}", headers={"accept-language": "zh-CN"}).json()
    assert chinese["error"]["message"] == "该适配器没有写明基座模型。"
    again = asks.post(f"/api/adapters/tasks/{first['id']}/again", json={"base": str(tiny_model)})
    brought = ended(asks, again)["result"]
    assert (brought["name"], brought["source"]) == ("mine.zip", {"kind": "upload", "name": "mine.zip"}) or brought[
        "name"
    ]
    assert asks.post(f"/api/adapters/{brought['id']}/rename", json={"name": "lamp"}).json() == {"name": "lamp"}
    listed = asks.get("/api/adapters").json()
    assert {entry["name"]: entry["title"] for entry in listed["adapters"]} == {
        brought["id"]: "lamp",
        "keeper-00000001": "keeper",
    }
    assert [base["name"] for base in listed["bases"]] == [str(tiny_model)]
    report = ended(asks, asks.post("/api/adapters/inspect", json={"names": [brought["id"], "keeper-00000001"]}))
    assert report["result"]["cosine"][0][1] == pytest.approx(1)
    assert report["result"]["adapters"][0]["layers"][0]["relative"] > 0
    graph = asks.get("/api/adapters/lineage").json()
    assert {node["id"] for node in graph["nodes"]} == {brought["id"], "keeper-00000001", "dataset:rows-00000000"}
    assert asks.post(f"/api/adapters/{brought['id']}/delete").status_code == 200
    assert "no imported adapter" in refusal(asks.post(f"/api/adapters/{brought['id']}/delete"))
    assert (shelf_site.studio.workspace.job("keeper-00000001") / names.ADAPTER).is_dir()


def test_a_folder_of_the_operator_is_offered_and_nothing_beside_it(asks, tiny_model):
    top = asks.get("/api/adapters/folder").json()
    assert (top["folders"], top["adapter"]) == (["theirs"], False)
    assert asks.get("/api/adapters/folder", params={"path": "theirs/lamp"}).json()["adapter"] is True
    wish = {"root": 0, "path": "theirs/lamp", "base": str(tiny_model), "name": "from the server"}
    brought = ended(asks, asks.post("/api/adapters/folder", json=wish))["result"]
    assert brought["source"] == {"kind": "folder", "name": "lamp"}
    for path in ("../..", "/etc", "link", "theirs/../.."):
        assert refusal(asks.get("/api/adapters/folder", params={"path": path}))
        assert refusal(asks.post("/api/adapters/folder", json={**wish, "path": path}))
    assert "no adapter in" in refusal(asks.post("/api/adapters/folder", json={**wish, "path": "theirs"}))


def test_what_a_browser_makes_up_is_refused(asks, monkeypatch):
    monkeypatch.setattr("studio.ui.adapter_room.ARRIVAL", 0.0)
    assert "not uploaded here" in refusal(asks.post("/api/adapters/upload", json={"paths": ["/etc/passwd"]}))
    assert "not the id of an adapter" in refusal(asks.post("/api/adapters/hub", json={"id": "../../etc"}))
    for name in ("../../etc", "nobody-00000000", "keeper-00000001@x", "a" * 500):
        assert refusal(asks.post("/api/adapters/inspect", json={"names": [name]}))
    assert asks.post("/api/adapters/inspect", json={"names": []}).status_code == 422
    assert asks.post("/api/adapters/inspect", json={"names": ["keeper-00000001"] * 9}).status_code == 422
    assert "no imported adapter" in refusal(asks.post("/api/adapters/keeper-00000001/delete"))
    assert refusal(asks.post("/api/adapters/keeper-00000001/rename", json={"name": "x"}))
    assert refusal(asks.get("/api/adapters/tasks/nothing"))


def test_every_reason_and_phase_has_its_words():
    from studio.adapters.opened import REASONS

    for language in ("en", "zh"):
        table = words(language)
        for key in (*(f"reason_{reason}" for reason in REASONS), "phase_fetching", "phase_copying", "phase_checking",
                    "phase_signing", "kind_job", "kind_merge", "kind_checkpoint", "kind_imported"):  # fmt: skip
            assert table[f"adapters_{key}"]


def test_the_limit_is_that_of_uploads(tmp_path):
    from studio.jobs.studio import open_studio

    assert AdapterRoom(open_studio(Settings(workspace=tmp_path, upload_limit_mb=3))).limit == 3 * 1024**2
