"""`studio adapters`: brought in, listed, inspected, renamed, removed; refusals have exit code 2."""

import json

import pytest

from studio import workspace as names
from studio.cli.main import run
from tests.adapters.conftest import lora_files


@pytest.fixture
def says(capsys, workspace, monkeypatch):
    """Runs a command in the workspace and returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(workspace.root))

    def say(*arguments):
        capsys.readouterr()
        code = run(["adapters", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return say


def test_an_adapter_from_a_folder_lives_and_is_removed(says, workspace, tiny_model, tmp_path):
    assert "No adapters yet" in says("list")[1]
    folder = lora_files(tmp_path / "theirs")
    code, _, told = says("import", folder)
    assert code == 2
    assert "does not say its base model" in told
    code, told, _ = says("import", folder, "--base", tiny_model, "--name", "lamp", "--json")
    assert code == 0
    record = json.loads(told)
    assert (record["name"], record["tuner"], record["source"]) == ("lamp", "lora", {"kind": "folder", "name": "theirs"})
    adapter = workspace.adapter_folder(record["id"])
    assert (adapter / names.ORIGIN).is_file()

    other = says("import", folder, "--base", tiny_model)[1].split()[0]
    assert {row["name"] for row in json.loads(says("list", "--json")[1])} == {other, record["id"]}
    code, told, _ = says("inspect", record["id"], other)
    assert code == 0
    assert "model.layers.0.self_attn.q_proj" in told
    assert json.loads(says("inspect", record["id"], other, "--json")[1])["cosine"][0][1] == pytest.approx(1)

    assert says("rename", record["id"], "the lamp")[0] == 0
    assert says("remove", record["id"])[0] == 0
    assert not adapter.exists()
    assert says("remove", record["id"])[0] == 2


@pytest.mark.parametrize("arguments", [("import", "nothing-here"), ("import", "samples"), ("inspect", "../../etc"),
                                       ("inspect", "lamp-00000000"), ("rename", "lamp-00000000", "x")])  # fmt: skip
def test_what_is_not_there_is_said(says, arguments):
    code, _, told = says(*arguments)
    assert code == 2
    assert told.strip()
    assert "Traceback" not in told
