"""Several adapters into one, and into the base: the weights by hand, PEFT's own merge, and what the result can do."""

import json

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig
from peft.utils import merge_utils
from safetensors.torch import load_file

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.earlier_jobs import check_earlier_jobs, learnable_options
from studio.jobs.events import EventWriter, Finished, Progress, Warned
from studio.jobs.merge_sketch import elect, trim
from studio.jobs.merging import check_merge, plan_merge
from studio.worker import checkpoints
from studio.worker import merge as merge_module
from studio.worker.adapters import AdapterShelf
from studio.worker.stop import StopRequested, StopSwitch
from tests.worker.adapters_made import base_of, deltas, loaded, make_adapter
from tests.worker.conftest import of_kind

pytestmark = pytest.mark.slow
IDS = torch.tensor([[1, 40, 41, 42, 43, 44]])
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def made(lab):
    """Two LoRA adapters of one shape, one of another with rsLoRA, two (IA)³ ones."""
    ia3 = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    return {
        "keeper": make_adapter(lab, "keeper", seed=1),
        "gulls": make_adapter(lab, "gulls", seed=2),
        "wide": make_adapter(
            lab, "wide",
            LoraConfig(r=6, lora_alpha=6, use_rslora=True, target_modules=ALL, task_type="CAUSAL_LM"), seed=3,
        ),
        "factors": make_adapter(lab, "factors", IA3Config(**ia3, task_type="CAUSAL_LM"), tuner={"name": "ia3"}, seed=4),
        "factors2": make_adapter(lab, "f2", IA3Config(**ia3, task_type="CAUSAL_LM"), tuner={"name": "ia3"}, seed=5),
    }  # fmt: skip


def plan(lab, sources, method=None, **more):
    named = [{"adapter": name, "weight": weight} for name, weight in sources.items()]
    return plan_merge({"sources": named, "method": method or {"name": "cat"}, **more}, lab.workspace)


def merge(lab, sources, method=None, **more):
    """Do a merge in this process; its job's id."""
    spec = plan(lab, sources, method, **more)
    folder = lab.folder(spec)
    merge_module.run(folder, spec, EventWriter(folder / names.EVENTS), StopSwitch())
    return folder.name


def by_hand(lab, sources):
    """{layer: Σ weight · update}"""
    model = loaded(lab, *sources)
    total = {}
    for name, weight in sources.items():
        for layer, delta in deltas(model, name).items():
            total[layer] = total.get(layer, 0) + weight * delta
    return total


def own(lab, job):
    return deltas(loaded(lab, job), job)


def close(one, other, tolerance=1e-5):
    assert one.keys() == other.keys()
    for layer, delta in one.items():
        assert torch.allclose(delta, other[layer], atol=tolerance), layer


def test_concatenation_is_the_weighted_sum_whatever_the_ranks_scales_and_layers(lab, made):
    sources = {made["keeper"]: 0.7, made["wide"]: -0.3}
    job = merge(lab, sources)
    close(own(lab, job), by_hand(lab, sources))
    config = json.loads((lab.workspace.job(job) / names.ADAPTER / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (10, 10, False)
    figures = of_kind(lab.workspace.job(job), Finished)[0].values
    norm = sum(float(delta.double().square().sum()) for delta in by_hand(lab, sources).values()) ** 0.5
    assert figures["norm_merged"] == pytest.approx(norm, rel=1e-5)
    assert figures["deviation"] == pytest.approx(0, abs=1e-6)


def test_svd_keeps_the_strongest_directions_of_the_sum(lab, made):
    sources = {made["keeper"]: 0.7, made["gulls"]: 0.5}
    job = merge(lab, sources, {"name": "svd", "svd_rank": 3})
    expected = {}
    for layer, delta in by_hand(lab, sources).items():
        u, s, vh = np.linalg.svd(delta.numpy())
        expected[layer] = torch.tensor(u[:, :3] * s[:3] @ vh[:3])
    close(own(lab, job), expected)
    assert 0 < of_kind(lab.workspace.job(job), Finished)[0].values["deviation"] < 1


def trimmed(tensor, density):
    flat = np.abs(tensor).ravel()
    kept = np.sort(flat)[len(flat) - int(density * len(flat)) :][0]
    return np.where(np.abs(tensor) >= kept, tensor, 0)


def elected(tensors, weights):
    """TIES by its paper: the sign of the greater sum, then the mean of those that have it."""
    sign = np.where(sum(tensors) >= 0, 1, -1)
    agreeing = [np.sign(one) == sign for one in tensors]
    summed = sum(weight * one * mask for one, mask, weight in zip(tensors, agreeing, weights, strict=True))
    return summed / np.maximum(sum(mask.astype(int) for mask in agreeing), 1)


def test_ties_trims_elects_and_averages_the_updates(lab, made):
    sources = {made["keeper"]: 1.0, made["gulls"]: 0.5}
    model = loaded(lab, *sources)
    job = merge(lab, sources, {"name": "ties_svd", "density": 0.4, "svd_rank": 64})
    first, second = (deltas(model, name) for name in sources)
    expected = {
        layer: torch.tensor(
            elected([trimmed(first[layer].numpy(), 0.4), trimmed(second[layer].numpy(), 0.4)], [1.0, 0.5]),
            dtype=torch.float32,
        )
        for layer in first
    }
    close(own(lab, job), expected)


def test_ties_on_the_factors_does_so_with_each_of_the_two_matrices(lab, made):
    sources = {made["keeper"]: 1.0, made["gulls"]: 0.5}
    job = merge(lab, sources, {"name": "ties", "density": 0.4})
    found = load_file(lab.workspace.job(job) / names.ADAPTER / "adapter_model.safetensors")
    given = [load_file(lab.workspace.job(one) / names.ADAPTER / "adapter_model.safetensors") for one in sources]
    roots = [(2 * 1.0) ** 0.5, (2 * 0.5) ** 0.5]  # alpha / r is 2
    for key, tensor in found.items():
        expected = elected([trimmed(one[key].numpy(), 0.4) for one in given], roots)
        assert torch.allclose(tensor, torch.tensor(expected, dtype=torch.float32), atol=1e-5), key


@pytest.mark.parametrize(
    ("method", "density"),
    [("linear", None), ("ties", 0.5), ("dare_linear", 0.5), ("dare_ties", 0.5), ("magnitude_prune", 0.5), ("cat", None),
     ("svd", None), ("ties_svd", 0.5), ("magnitude_prune_svd", 0.5)],
)  # fmt: skip
def test_every_method_gives_what_peft_gives_where_peft_is_right(lab, made, method, density):
    sources = {made["keeper"]: 0.7, made["gulls"]: 0.3}
    options = {"name": method} if density is None else {"name": method, "density": density}
    job = merge(lab, sources, options, seed=11)
    model = loaded(lab, *sources)
    torch.manual_seed(11)
    model.add_weighted_adapter(
        list(sources), list(sources.values()), "merged", combination_type=method, density=density
    )
    expected = deltas(model, "merged")
    if method.startswith("dare"):  # the same draws only where layers come in the same order: compare what is certain
        found = own(lab, job)
        assert found.keys() == expected.keys()
        kept = [float((delta != 0).float().mean()) for delta in found.values()]
        assert all(0.1 < share <= 1 for share in kept)
        return
    close(own(lab, job), expected)


def test_the_numpy_twins_compute_as_pefts_functions():
    draw = np.random.default_rng(0)
    tensors = [draw.normal(size=(12, 9)).astype(np.float32) for _ in range(3)]
    weights = np.array([1.0, 0.5, -0.7])
    given = [torch.tensor(one) for one in tensors], torch.tensor(weights, dtype=torch.float32)
    trimmed = [trim(one, 0.4) for one in tensors]
    assert np.allclose(elect(trimmed, weights, "total"), merge_utils.ties(*given, 0.4), atol=1e-6)
    by_number = merge_utils.ties(*given, 0.4, majority_sign_method="frequency")
    assert np.allclose(elect(trimmed, weights, "frequency"), by_number, atol=1e-6)


def test_dare_drops_by_chance_and_keeps_the_mean(lab, made):
    sources = {made["keeper"]: 1.0, made["gulls"]: 1.0}
    job = merge(lab, sources, {"name": "dare_linear_svd", "density": 0.5, "svd_rank": 64})
    again = merge(lab, sources, {"name": "dare_linear_svd", "density": 0.5, "svd_rank": 64})
    other = merge(lab, sources, {"name": "dare_linear_svd", "density": 0.5, "svd_rank": 64}, seed=7)
    model = loaded(lab, *sources)
    first, second = (deltas(model, name) for name in sources)
    for layer, delta in own(lab, job).items():
        parts = torch.stack([0 * delta, 2 * first[layer], 2 * second[layer], 2 * (first[layer] + second[layer])])
        distance = (parts - delta).abs().min(dim=0).values
        assert float(distance.max()) < 1e-4, "an entry that is neither dropped nor doubled"
    close(own(lab, job), own(lab, again), 0)
    assert any(not torch.allclose(delta, own(lab, other)[layer]) for layer, delta in own(lab, job).items())


def test_rslora_is_not_scaled_twice(lab, made):
    """PEFT's own merge of rsLoRA adapters is too large by the root of the rank."""
    other = make_adapter(
        lab, "wide2", LoraConfig(r=6, lora_alpha=6, use_rslora=True, target_modules=ALL, task_type="CAUSAL_LM"), seed=8
    )
    sources = {made["wide"]: 0.5, other: 0.5}
    close(own(lab, merge(lab, sources)), by_hand(lab, sources))
    model = loaded(lab, *sources)
    model.add_weighted_adapter(list(sources), [0.5, 0.5], "merged", combination_type="cat")
    layer, delta = next(iter(deltas(model, "merged").items()))
    assert torch.allclose(delta, 12**0.5 * by_hand(lab, sources)[layer], atol=1e-4), "PEFT has mended it: say so"


def test_factors_of_ia3_add_up_by_what_they_do_beyond_one(lab, made):
    one, two = made["factors"], made["factors2"]
    job = merge(lab, {one: 1.0, two: 0.5}, {"name": "linear"})
    read = [load_file(lab.workspace.job(j) / names.ADAPTER / "adapter_model.safetensors") for j in (one, two, job)]
    for key, tensor in read[2].items():
        assert torch.allclose(tensor, 1 + (read[0][key] - 1) + 0.5 * (read[1][key] - 1), atol=1e-6)
    assert logits(loaded(lab, job)).isfinite().all()


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_a_merged_adapter_answers_on_the_shelf_as_pefts_merge_does(lab, made):
    from transformers import AutoTokenizer

    sources = {made["keeper"]: 0.7, made["gulls"]: 0.3}
    job = merge(lab, sources)
    checkpoints.verify(lab.workspace.job(job) / names.ADAPTER)
    shelf = AdapterShelf(base_of(lab.model), AutoTokenizer.from_pretrained(lab.model), lab.model, lab.workspace)
    model = loaded(lab, *sources)
    model.add_weighted_adapter(list(sources), list(sources.values()), "merged", combination_type="cat")
    model.set_adapter("merged")
    assert shelf.tokenizer(job).chat_template
    with shelf.use(job) as voice:
        assert torch.allclose(logits(voice.model), logits(model), atol=1e-5)


def test_merged_into_the_base_it_gives_the_logits_of_base_and_adapter(lab, made):
    for sources in ({made["keeper"]: 1.0}, {made["keeper"]: 0.7, made["wide"]: 0.5}, {made["factors"]: 1.0}):
        job = merge(lab, sources, into_base=True)
        folder = lab.workspace.job(job) / names.MODEL
        checkpoints.verify(folder)
        adapter = merge(lab, sources) if len(sources) > 1 else next(iter(sources))
        assert torch.allclose(logits(base_of(folder)), logits(loaded(lab, adapter)), atol=1e-4)
        assert not (lab.workspace.job(job) / names.ADAPTER).exists()
        origin = json.loads((folder / names.ORIGIN).read_text())
        assert (origin["dtype"], origin["tuner"]) == ("float32", "full")
    assert not [path for path in lab.workspace.job(job).iterdir() if path.name.startswith(".")]


def test_a_whole_model_has_the_dtype_that_was_asked_for_and_says_what_learned_beside_a_quantized_base(lab):
    quantized = make_adapter(lab, "small", seed=6, quantization="nf4")
    job = merge(lab, {quantized: 1.0}, into_base=True, dtype="bfloat16")
    tensors = load_file(lab.workspace.job(job) / names.MODEL / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert "nf4" in of_kind(lab.workspace.job(job), Warned)[0].message


def test_a_merge_tells_how_far_it_is(lab, made, monkeypatch):
    monkeypatch.setattr(merge_module, "TELL_EVERY", -1.0)
    for into_base in (False, True):
        job = merge(lab, {made["keeper"]: 0.5, made["gulls"]: 0.5}, into_base=into_base)
        shares = [event.share for event in of_kind(lab.workspace.job(job), Progress)]
        assert shares[:2] == [None, 0.0], "what it checks before is no part of it"
        assert shares[1:] == sorted(shares[1:])
        assert 0.8 < shares[-1] <= 1
        assert len(shares) > 5


def test_a_merge_can_be_learned_on_and_merged_again(lab, made):
    job = merge(lab, {made["keeper"]: 0.5, made["gulls"]: 0.5})
    options = learnable_options(job, lab.workspace)
    spec = lab.spec("lora", tuner=options, start_from=job, dtype="float32", max_steps=1)
    check_earlier_jobs(spec, lab.workspace, lab.model)
    again = merge(lab, {job: 1.0, made["wide"]: 1.0})
    close(own(lab, again), by_hand(lab, {job: 1.0, made["wide"]: 1.0}))


def test_a_stop_leaves_nothing_and_resuming_does_it_anew(lab, made, monkeypatch):
    spec = plan(lab, {made["keeper"]: 0.7, made["gulls"]: 0.3})
    folder = lab.folder(spec)
    events, switch = EventWriter(folder / names.EVENTS), StopSwitch()
    with monkeypatch.context() as patch:
        patch.setattr(merge_module, "merged_matrices", lambda *unused: switch._press())
        with pytest.raises(StopRequested):
            merge_module.run(folder, spec, events, switch)
    assert {path.name for path in folder.iterdir()} <= {names.SPEC, names.EVENTS}
    merge_module.run(folder, spec, events, StopSwitch())
    checkpoints.verify(folder / names.ADAPTER)


def test_what_does_not_go_together_is_refused_with_the_reason(lab, made, other_model):
    def reason(sources, method=None, **more):
        with pytest.raises(UserError) as caught:
            plan(lab, sources, method, **more)
        return caught.value.message

    keeper, wide = made["keeper"], made["wide"]
    lora = {"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    dora = make_adapter(lab, "dora", LoraConfig(**lora, use_dora=True))
    head = make_adapter(lab, "head", LoraConfig(**lora, modules_to_save=["lm_head"]))
    marks = make_adapter(lab, "marks", dataset=lab.preferences, objective={"name": "reward"})
    plain = make_adapter(lab, "plain", chat_template="plain")
    stranger = make_adapter(lab, "stranger")
    origin = lab.workspace.job(stranger) / names.ADAPTER / names.ORIGIN
    origin.write_text(json.dumps({**json.loads(origin.read_text()), "base_fingerprint": "other"}))
    assert "alone" in reason({keeper: 1.0})
    assert "weight 0" in reason({keeper: 1.0, wide: 0})
    assert "different base models" in reason({keeper: 1.0, stranger: 1.0})
    assert "chat template" in reason({keeper: 1.0, plain: 1.0})
    assert "reward model" in reason({keeper: 1.0, marks: 1.0})
    assert "head of its own" in reason({marks: 1.0, make_adapter(lab, "m", objective={"name": "reward"}): 1.0})
    assert "needs equal ranks" in reason({keeper: 1.0, wide: 1.0}, {"name": "ties"})
    assert "DoRA" in reason({keeper: 1.0, dora: 1.0})
    assert "whole layers" in reason({keeper: 1.0, head: 1.0})
    assert "(IA)³" in reason({made["factors"]: 1.0, made["factors2"]: 1.0})
    assert "Different kinds" in reason({keeper: 1.0, made["factors"]: 1.0}, {"name": "linear"})
    assert "has no adapter" in reason({keeper: 1.0, "nobody-00000000": 1.0})
    assert "no checkpoint" in reason({keeper: 1.0, f"{keeper}@5": 1.0})
    assert "Weight" in reason({keeper: 1.0, wide: 99.0})
    assert "Density" in reason({keeper: 1.0, wide: 1.0}, {"name": "ties", "density": 0})
    file = lab.workspace.job(dora) / names.ADAPTER / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "peft_type": "PREFIX_TUNING"}))
    assert "cannot be merged" in reason({dora: 1.0}, into_base=True)


def test_a_damaged_adapter_is_not_merged(lab, made):
    copy = make_adapter(lab, "damaged", seed=9)
    spec = plan(lab, {made["keeper"]: 1.0, copy: 1.0})
    file = lab.workspace.job(copy) / names.ADAPTER / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    folder = lab.folder(spec)
    with pytest.raises(UserError, match="is damaged"):
        merge_module.run(folder, spec, EventWriter(folder / names.EVENTS), StopSwitch())
    assert check_merge(spec, lab.workspace)
