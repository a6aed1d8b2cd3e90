"""Which adapters there are, and what came from what: read from folders and specs alone."""

import json
import shutil

import pytest
import yaml

from studio import workspace as names
from studio.adapters.record import RECORD
from studio.errors import UserError
from studio.jobs.adapter_shelf import bases_here, find, inspect, shelf
from studio.jobs.lineage import Graph, Node, lay_out, lineage
from studio.workspace import write_json
from tests.adapters.conftest import lora_files
from tests.conftest import make_tiny_model

DATA = {"dataset": {"id": "rows-00000000", "sha256": ""}}


@pytest.fixture
def put_job(workspace, tiny_model):
    """Makes a job's folder with a spec and, where wanted, adapters in it."""

    def put(job_id, *, steps=(), result=True, **values):
        folder = workspace.job(job_id)
        folder.mkdir()
        given = {"base_model": str(tiny_model), "objective": {"name": "sft"}, "tuner": {"name": "lora"}, **values}
        (folder / names.SPEC).write_text(yaml.safe_dump(given))
        places = [folder / names.CHECKPOINTS / f"checkpoint-{step}" for step in steps]
        for place in places + [folder / names.ADAPTER] * result:
            lora_files(place)
        return job_id

    return put


def test_the_shelf_has_results_checkpoints_and_imported_ones(workspace, put_job, tiny_model):
    put_job("lamp-00000001", name="lamp", steps=(2, 10), **DATA)
    put_job("judge-00000002", objective={"name": "reward"}, **DATA)
    put_job("mixed-00000003", kind="merge", sources=[{"adapter": "lamp-00000001"}], objective="sft", tuner="lora")
    put_job("empty-00000004", result=False)
    (workspace.jobs / "broken-00000005").mkdir()
    (workspace.jobs / "broken-00000005" / names.SPEC).write_text("{")
    folder = workspace.adapter("mine-00000006")
    lora_files(folder / names.ADAPTER)
    record = {"id": "mine-00000006", "name": "mine", "base_model": "starter", "created": "2030-01-01", "tuner": "lora",
              "files": [], "bytes": 1, "source": {"kind": "upload", "name": "mine.zip"}}  # fmt: skip
    write_json(folder / RECORD, record)
    found = {entry.name: entry for entry in shelf(workspace)}
    assert {name: entry.kind for name, entry in found.items()} == {
        "mine-00000006": "imported",
        "lamp-00000001": "job",
        "lamp-00000001@2": "checkpoint",
        "lamp-00000001@10": "checkpoint",
        "judge-00000002": "job",
        "mixed-00000003": "merge",
    }
    assert [name for name, entry in found.items() if not entry.speaks] == ["judge-00000002"]
    assert found["mixed-00000003"].tuner == "lora"
    for name, entry in found.items():
        assert (workspace.adapter_folder(name) / "adapter_model.safetensors").stat().st_size == entry.bytes
    assert next(iter(found)) == "mine-00000006"
    assert bases_here(workspace, None) == {str(tiny_model): tiny_model}
    assert bases_here(workspace, (workspace.root,)) == {}
    with pytest.raises(UserError, match="no adapter"):
        find(workspace, "empty-00000004")


def test_adapters_of_different_bases_are_not_compared(workspace, put_job, tmp_path, tiny_model):
    put_job("one-00000001")
    put_job("two-00000002", base_model=str(make_tiny_model(tmp_path / "other", seed=4)))
    one = inspect(workspace, ["one-00000001", "one-00000001"], None, lambda *told: None)
    assert [entry["name"] for entry in one["adapters"]] == ["one-00000001"]
    assert one["adapters"][0]["relative"] > 0
    with pytest.raises(UserError, match="different base models"):
        inspect(workspace, ["one-00000001", "two-00000002"], None, lambda *told: None)


def edges(graph):
    return {(source, target): use for source, target, use in graph.edges}


def test_the_graph_follows_data_stages_checkpoints_rewards_and_merges(workspace, put_job):
    put_job("first-00000001", name="first", steps=(5,), general_dataset={"id": "more-00000000"}, **DATA)
    put_job("judge-00000002", objective={"name": "reward"}, **DATA)
    put_job("second-00000003", start_from="first-00000001",
            objective={"name": "ppo", "reward_model": "judge-00000002"}, **DATA)  # fmt: skip
    # A kind of job that is not known here, whose spec lists its sources.
    put_job("mixed-00000004", kind="blend", sources=["second-00000003", {"adapter": "first-00000001@5", "weight": 1},
                                                     {"name": "deleted-00000009"}])  # fmt: skip
    graph = lineage(workspace)
    assert edges(graph) == {
        ("dataset:rows-00000000", "first-00000001"): "data",
        ("dataset:more-00000000", "first-00000001"): "mixed",
        ("dataset:rows-00000000", "judge-00000002"): "data",
        ("dataset:rows-00000000", "second-00000003"): "data",
        ("first-00000001", "second-00000003"): "continues",
        ("judge-00000002", "second-00000003"): "rewards",
        ("second-00000003", "mixed-00000004"): "merge",
        ("first-00000001", "first-00000001@5"): "checkpoint",
        ("first-00000001@5", "mixed-00000004"): "merge",
        ("deleted-00000009", "mixed-00000004"): "merge",
    }
    kinds = {node.id: node.kind for node in graph.nodes.values()}
    assert kinds["mixed-00000004"] == "merge"
    assert kinds["first-00000001@5"] == "checkpoint"
    assert kinds["deleted-00000009"] == kinds["dataset:rows-00000000"] == "gone"
    for source, target, _ in graph.edges:
        assert graph.nodes[source].x < graph.nodes[target].x
    places = [(node.x, node.y) for node in graph.nodes.values()]
    assert len(set(places)) == len(places)
    assert graph.nodes["deleted-00000009"].x == graph.nodes["mixed-00000004"].x - 1
    json.dumps(graph.to_dict())


def test_what_comes_from_itself_is_drawn_all_the_same(workspace, put_job):
    put_job("one-00000001", start_from="two-00000002")
    put_job("two-00000002", start_from="one-00000001")
    put_job("self-00000003", start_from="self-00000003@5")
    graph = lineage(workspace)
    assert len([edge for edge in graph.edges if "0000000" in edge[0]]) == 2
    assert len(graph.nodes) == 4


def test_a_layer_is_sorted_so_that_lines_do_not_cross():
    graph = Graph({name: Node(name, "job", name) for name in ("a", "b", "c", "x", "y", "z")})
    for source, target in (("a", "z"), ("b", "y"), ("c", "x")):
        graph.connect(source, target, "continues")
    lay_out(graph)
    order = [[node.id for node in sorted(graph.nodes.values(), key=lambda node: node.y) if node.x == x] for x in (0, 1)]
    assert [dict(zip("abc", "zyx", strict=True))[name] for name in order[0]] == order[1]


def test_a_deleted_job_takes_its_adapters_off_the_shelf(workspace, put_job):
    put_job("lamp-00000001", steps=(2,))
    shutil.rmtree(workspace.job("lamp-00000001"))
    assert shelf(workspace) == []
    assert lineage(workspace).to_dict() == {"nodes": [], "edges": []}
