"""Merges as jobs, without torch: figures, lineage, and every list that now holds one."""

import json

import numpy as np
import pytest

from studio import workspace as names
from studio.cli.main import run
from studio.errors import UserError
from studio.jobs.chain import candidates, next_objectives, stage_values, training_like
from studio.jobs.code.bundle import JobCode
from studio.jobs.events import EventWriter, Finished, Stopped
from studio.jobs.merge_figures import FigureDesk
from studio.jobs.merge_lineage import lineage
from studio.jobs.merge_sources import mergeable, read_header, read_source
from studio.jobs.merging import check_merge, plan_merge
from studio.jobs.spec import MergeSpec, read_job_spec
from studio.methods.merging import MERGE_METHODS
from studio.playground.client import chat_target
from tests.jobs.adapter_files import MODULE, finished_job, matrices, write_adapter


@pytest.fixture
def two(studio):
    """Two finished jobs with adapters of one base model."""
    return finished_job(studio.store, "keeper", matrices(1)), finished_job(studio.store, "gulls", matrices(2))


def plan(studio, sources, method=None, **more):
    named = [{"adapter": name, "weight": weight} for name, weight in sources.items()]
    return plan_merge({"sources": named, "method": method or {"name": "cat"}, **more}, studio.workspace)


def figures(studio, sources, method=None):
    spec = plan(studio, sources, method)
    return FigureDesk().figures(check_merge(spec, studio.workspace), spec)


def update(tensors, scaling=2.0):
    """{module: scaling · B·A}"""
    return {
        key.removesuffix(".lora_A.weight"): scaling * tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
        for key in tensors
        if "lora_A" in key
    }


def norm(updates):
    return float(np.sqrt(sum(np.square(one).sum() for one in updates.values())))


def test_the_norms_and_cosines_are_those_of_the_whole_updates(studio, two):
    found = figures(studio, {two[0]: 0.7, two[1]: -0.4})
    first, second = update(matrices(1)), update(matrices(2))
    assert [one["norm"] for one in found["adapters"]] == pytest.approx([norm(first), norm(second)], rel=1e-5)
    assert found["adapters"][1]["weighted"] == pytest.approx(0.4 * norm(second), rel=1e-5)
    inner = sum(float((first[module] * second[module]).sum()) for module in first)
    assert found["cosines"][0][1] == pytest.approx(inner / norm(first) / norm(second), abs=1e-5)
    summed = {module: 0.7 * first[module] - 0.4 * second[module] for module in first}
    assert found["merged"] == found["sum"] == pytest.approx(norm(summed), rel=1e-5)
    assert (found["exact"], found["deviation"]) == (True, 0.0)


def test_the_share_of_conflicts_is_near_that_of_all_entries_and_follows_the_signs(studio, two):
    first, second = update(matrices(1)), update(matrices(2))
    opposed = np.mean([np.sign(first[module]) * np.sign(second[module]) < 0 for module in first])
    plus, minus = figures(studio, {two[0]: 1, two[1]: 1}), figures(studio, {two[0]: 1, two[1]: -1})
    assert plus["conflict"] == pytest.approx(opposed, abs=0.03)
    assert plus["conflict"] + minus["conflict"] == pytest.approx(1, abs=1e-6)
    assert plus["conflicts"][0][1] == plus["conflicts"][1][0] == plus["conflict"]
    assert figures(studio, {two[0]: 1, two[1]: 1}) == plus, "the sample is a fixed one"


def test_what_a_method_makes_is_estimated_and_linear_doubles_equal_adapters(studio, two):
    twin = finished_job(studio.store, "twin", matrices(1))
    for name in MERGE_METHODS:
        found = figures(studio, {two[0]: 0.5, twin: 0.5}, {"name": name})
        assert found["exact"] == (name == "cat")
        assert 0 <= found["merged"] < 3 * found["sum"]
    linear = figures(studio, {two[0]: 0.5, twin: 0.5}, {"name": "linear"})
    assert linear["merged"] == pytest.approx(2 * linear["sum"], rel=1e-5)
    assert figures(studio, {two[0]: 0.5, twin: 0.5}, {"name": "svd"})["deviation"] == pytest.approx(0, abs=1e-6)


def test_bfloat16_files_and_scales_are_read_as_they_are_meant(studio, two):
    tensors = {key: (value.view(np.uint32) >> 16).astype(np.uint16) for key, value in matrices(3).items()}
    job = finished_job(studio.store, "half", tensors, lora_alpha=6, use_rslora=True)
    file = studio.workspace.job(job) / names.ADAPTER / "adapter_model.safetensors"
    data = file.read_bytes()
    header = data[8 : 8 + int.from_bytes(data[:8], "little")].replace(b'"U16"', b'"BF16"').rstrip()
    file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + int.from_bytes(data[:8], "little") :])
    meant = {key: (value.astype(np.uint32) << 16).view(np.float32) for key, value in tensors.items()}
    found = figures(studio, {two[0]: 1, job: 1})
    assert found["adapters"][1]["norm"] == pytest.approx(norm(update(meant, 6 / 4**0.5)), rel=1e-5)


def test_a_file_that_is_cut_off_or_no_safetensors_is_refused(studio, two):
    file = studio.workspace.job(two[1]) / names.ADAPTER / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cut off"):
        figures(studio, {two[0]: 1, two[1]: 1})
    for wrong in (b"", b"\x80\x04junk-junk-junk", (2**62).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"):
        file.write_bytes(wrong)
        with pytest.raises(UserError, match="not a safetensors file"):
            read_header(file)


@pytest.fixture
def merged(studio, two):
    """A merge of both that is done."""
    spec = plan(studio, {two[0]: 0.7, two[1]: 0.3}, {"name": "ties", "density": 0.4}, name="both")
    job = studio.start_merge(spec)
    studio.catalog.dequeue(job)
    folder = studio.workspace.job(job)
    origin = {"job": job, "base_model": "starter", "base_fingerprint": "abc", "chat_template": "model",
              "objective": "sft", "dataset_sha256": "", "tuner": "lora",
              "tuner_options": {"name": "lora", "r": 4, "lora_alpha": 4, "target_modules": "all-linear"}}  # fmt: skip
    write_adapter(folder / names.ADAPTER, matrices(5), origin, lora_alpha=4)
    values = {"norm_merged": 2.0, "norm_sum": 3.0, "deviation": 0.5, "rank": 4.0}
    EventWriter(folder / names.EVENTS).write(
        Finished(step=0, seconds=1, result="adapter", result_bytes=1, peak_memory_bytes=0, values=values)
    )
    return job


def test_a_merge_is_a_job_among_the_others_and_says_what_it_was_made_of(studio, two, merged):
    view = studio.store.view(merged)
    assert [one.id for one in studio.store.views()].count(merged) == 1
    assert not studio.store.unreadable
    assert (view.name, view.status, view.objective, view.tuner) == ("both", "completed", "sft", "lora")
    told = view.to_dict()
    assert (told["kind"], told["method"], told["dataset"]) == ("merge", "ties", "")
    assert [source["adapter"] for source in told["sources"]] == list(two)
    about = lineage(view, studio.workspace)
    assert about["options"] == {"density": 0.4, "majority_sign_method": "total"}
    assert about["values"]["deviation"] == 0.5
    assert lineage(studio.store.view(two[0]), studio.workspace) is None
    json.dumps(about)


def test_a_merge_can_be_spoken_with_continued_and_merged_again(studio, two, merged):
    assert chat_target(studio.store, studio.workspace, merged).model == merged
    assert merged in [view.id for view in candidates(studio.store, "start_from")]
    view = studio.store.view(merged)
    assert "dpo" in next_objectives(view.objective, view.tuner)
    values = stage_values(training_like(view, studio.workspace), merged, "dpo")
    assert (values["start_from"], values["tuner"]["r"], values["tuner"]["lora_alpha"]) == (merged, 4, 4)
    assert set(mergeable(studio.workspace)) == {*two, merged}
    assert plan(studio, {merged: 1.0, two[0]: 1.0}).base_model == "starter"


def test_what_only_training_has_is_refused_in_a_sentence(studio, merged):
    with pytest.raises(UserError, match="is a merge"):
        JobCode(studio.workspace, studio.store.view(merged)).text("script")
    with pytest.raises(UserError, match="already"):
        plan(studio, {merged: 1.0})
    with pytest.raises(UserError, match="cannot be resumed"):
        studio.store.resume(merged)


def test_a_merge_that_was_stopped_begins_anew(studio, two):
    job = studio.start_merge(plan(studio, {two[0]: 1.0, two[1]: 1.0}))
    studio.store.request_stop(job)
    assert studio.store.view(job).status == "stopped"
    studio.store.resume(job)
    assert studio.catalog.waiting() == [job]
    studio.catalog.dequeue(job)
    EventWriter(studio.workspace.job(job) / names.EVENTS).write(Stopped(step=0))
    with pytest.raises(UserError, match="no adapter yet"):
        chat_target(studio.store, studio.workspace, job)


def test_checkpoints_and_imported_adapters_have_names_too(studio, two, tiny_model):
    job = finished_job(studio.store, "steps", matrices(6), base=str(tiny_model))
    folder = studio.workspace.job(job)
    step = folder / names.CHECKPOINTS / "checkpoint-20"
    write_adapter(step, matrices(7), {})
    (step / names.ORIGIN).unlink()
    imported = studio.workspace.adapter("found-00000001") / names.ADAPTER
    write_adapter(imported, matrices(8), {"base_model": "starter", "base_fingerprint": "abc", "chat_template": "model",
                                          "objective": "sft", "tuner": "lora"})  # fmt: skip
    assert {f"{job}@20", "found-00000001"} <= set(mergeable(studio.workspace))
    assert read_source(f"{job}@20", studio.workspace).origin["base_fingerprint"]
    assert plan(studio, {two[0]: 1.0, "found-00000001": 1.0}).base_model == "starter"
    for name in ("../../etc", f"{job}@../20", "@3", ""):
        with pytest.raises(UserError):
            read_source(name, studio.workspace)


def test_sizes_that_do_not_lie_on_each_other_are_refused(studio, two):
    narrow = finished_job(studio.store, "narrow", matrices(4, wide=32))
    with pytest.raises(UserError, match="other sizes"):
        plan(studio, {two[0]: 1.0, narrow: 1.0})
    crooked = matrices(4)
    crooked[f"{MODULE.format(0, 'q')}.lora_A.weight"] = np.zeros((3, 64), np.float32)
    bent = finished_job(studio.store, "bent", crooked)
    with pytest.raises(UserError, match="something else"):
        plan(studio, {two[0]: 1.0, bent: 1.0})
    many = {finished_job(studio.store, f"wide{i}", matrices(i, r=400)): 1.0 for i in range(3)}
    with pytest.raises(UserError, match="1200"):
        plan(studio, many)
    assert plan(studio, many, {"name": "svd"})


def test_a_spec_of_another_kind_is_named(studio, two, tmp_path):
    folder = studio.workspace.job(two[0])
    (folder / names.SPEC).write_text("kind: magic\n")
    with pytest.raises(UserError, match="kind that this studio does not know"):
        read_job_spec(folder / names.SPEC)


def test_the_command_merges_and_tells_it(studio, two, monkeypatch, capsys):
    """The whole way, with a worker of its own."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(studio.workspace.root))
    names_of = [word for job in two for word in ("--adapter", job)]
    command = ["merge", *names_of, "--weight", "0.7", "--weight", "0.3", "--method", "ties", "--density", "0.5"]
    assert run([*command, "--name", "both", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["kind"], told["name"]) == ("completed", "merge", "both")
    folder = studio.workspace.job(told["id"])
    assert isinstance(read_job_spec(folder / names.SPEC), MergeSpec)
    origin = json.loads((folder / names.ADAPTER / names.ORIGIN).read_text())
    assert origin["base_fingerprint"] == "abc"
    assert [source["weight"] for source in origin["merge"]["sources"]] == [0.7, 0.3]
    assert (folder / names.ADAPTER / "tokenizer.json").is_file()
    assert run(["jobs", "show", told["id"]]) == 0
    assert f"0.7 × {two[0]}" in capsys.readouterr().out
    assert run(["jobs", "list"]) == 0
    assert "merge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([], "No adapter is named"),
        (["--adapter", "a", "--adapter", "b", "--weight", "1"], "2 adapters and 1 weights"),
        (["--adapter", "a", "--method", "magic"], "no method"),
        (["--adapter", "a", "--density", "0.5"], "has no density"),
        (["--adapter", "a"], "alone"),
        (["--adapter", "a", "--into-base", "--dtype", "int4"], "Precision"),
        (["--adapter", "nobody", "--into-base"], "has no adapter"),
    ],
)
def test_the_command_refuses_in_a_sentence(workspace, monkeypatch, capsys, more, reason):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(workspace.root))
    assert run(["merge", *more]) == 2
    assert reason in capsys.readouterr().err
    assert not list(workspace.jobs.iterdir())
