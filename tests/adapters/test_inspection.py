"""Norms, singular values and cosines are those of the ΔW that PEFT itself would add."""

import json
import struct

import numpy as np
import pytest

from studio.adapters.bundle import CONFIG, WEIGHTS
from studio.adapters.fitting import BaseShapes
from studio.adapters.inspection import BaseNorms, look_into
from studio.adapters.opened import REASONS, open_adapter
from studio.adapters.tensor_file import read, read_header, row_blocks
from studio.errors import UserError
from tests.adapters.conftest import rewrite_tensors

MEASURED = ("lora", "other", "dora", "adalora", "ia3", "shira")


def no_one(share, known):
    """Nobody is told."""


def deltas(base, folder):
    """{module: ΔW} as torch has it: the merged model less the base."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    before = {name: weight.double() for name, weight in AutoModelForCausalLM.from_pretrained(base).state_dict().items()}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base).double(), folder)
    after = model.merge_and_unload().state_dict()
    changes = {name: (after[name].double() - weight).numpy() for name, weight in before.items()}
    return {name.removesuffix(".weight"): change for name, change in changes.items() if np.abs(change).max() > 1e-12}


@pytest.fixture(scope="module")
def base(tiny_model):
    return BaseShapes(tiny_model, "tiny")


@pytest.fixture(scope="module")
def expected(outside, tiny_model):
    return {name: deltas(tiny_model, outside[name]) for name in MEASURED}


@pytest.fixture(scope="module")
def report(outside, base, tmp_path_factory):
    norms = BaseNorms(tmp_path_factory.mktemp("norms") / "base.json")
    return look_into([open_adapter(outside[name], base) for name in MEASURED], norms, no_one)


@pytest.mark.parametrize("name", MEASURED)
def test_norms_and_singular_values_are_those_of_the_change_that_peft_makes(name, report, expected, base):
    whole = report["adapters"][MEASURED.index(name)]
    rows = {row["module"]: row for row in whole["layers"]}
    assert set(rows) == set(expected[name])
    for module, change in expected[name].items():
        row = rows[module]
        assert row["norm"] == pytest.approx(np.linalg.norm(change), rel=1e-4)
        below = np.linalg.norm(read(base.weight(module)))
        assert row["relative"] == pytest.approx(np.linalg.norm(change) / below, rel=1e-4)
        assert row["layer"] == int(module.split(".")[2])
        if row["singular"]:
            exact = np.linalg.svd(change, compute_uv=False)[: row["rank"]]
            assert row["singular"] == pytest.approx(exact, rel=1e-4, abs=1e-6)
            shares = exact / exact.sum()
            assert row["effective_rank"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
            assert row["stable_rank"] == pytest.approx((exact**2).sum() / exact[0] ** 2, rel=1e-4)
    assert whole["norm"] == pytest.approx(np.sqrt(sum((one**2).sum() for one in expected[name].values())), rel=1e-4)


def test_cosines_of_every_pair_of_kinds_are_those_of_the_whole_changes(report, expected):
    for i, one in enumerate(MEASURED):
        for j, other in enumerate(MEASURED):
            mine, its = expected[one], expected[other]
            shared = set(mine) & set(its)
            product = sum((mine[module] * its[module]).sum() for module in shared)
            lengths = [np.sqrt(sum((change**2).sum() for change in changes.values())) for changes in (mine, its)]
            assert report["cosine"][i][j] == pytest.approx(product / (lengths[0] * lengths[1]), abs=1e-6)
            if i < j:
                for module in shared:
                    exact = (
                        (mine[module] * its[module]).sum() / np.linalg.norm(mine[module]) / np.linalg.norm(its[module])
                    )
                    assert report["pairs"][f"{i}-{j}"][module] == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("name", ["bottleneck", "prompt_tuning", "p_tuning", "prefix_tuning"])
def test_an_adapter_that_changes_no_weight_says_why(name, outside, base):
    whole = look_into([open_adapter(outside[name], base)], None, no_one)["adapters"][0]
    assert whole["reason"] in REASONS
    assert whole["layers"] == []


def test_without_its_base_lora_is_measured_and_what_needs_it_says_so(outside):
    lora, ia3 = (
        look_into([open_adapter(outside[name], None)], None, no_one)["adapters"][0] for name in ("lora", "ia3")
    )
    assert lora["norm"] > 0
    assert lora["relative"] is None
    assert (ia3["reason"], ia3["layers"]) == ("base", [])


def test_patterns_of_ranks_and_alphas_are_followed(copy_of, base, tiny_model):
    folder = copy_of("lora", alpha_pattern={"layers.0.self_attn.q_proj": 64})
    rows = look_into([open_adapter(folder, base)], None, no_one)["adapters"][0]["layers"]
    for module, change in deltas(tiny_model, folder).items():
        found = next(row for row in rows if row["module"] == module)
        assert found["norm"] == pytest.approx(np.linalg.norm(change), rel=1e-4)


def test_a_layer_that_was_saved_whole_is_compared_with_the_bases(copy_of, base):
    weight = read(base.weight("model.embed_tokens"))
    folder = copy_of("lora", modules_to_save=["embed_tokens"])
    more = {"base_model.model.model.embed_tokens.weight": weight + np.float32(0.5)}
    rewrite_tensors(folder, lambda tensors: tensors.update(more))
    rows = look_into([open_adapter(folder, base)], None, no_one)["adapters"][0]["layers"]
    found = next(row for row in rows if row["module"] == "model.embed_tokens")
    assert found["norm"] == pytest.approx(0.5 * np.sqrt(weight.size), rel=1e-4)


def test_an_adapter_without_effect_has_no_direction(copy_of, base, outside):
    folder = copy_of("lora")
    rewrite_tensors(folder, lambda tensors: tensors.update({k: 0 * v for k, v in tensors.items() if "lora_B" in k}))
    report = look_into([open_adapter(folder, base), open_adapter(outside["lora"], base)], None, no_one)
    assert report["cosine"][0] == [None, None]
    assert report["cosine"][1][1] == pytest.approx(1)
    assert report["adapters"][0]["layers"][0]["effective_rank"] == 0


def test_norms_of_the_base_are_read_once(outside, base, tmp_path, monkeypatch):
    file = tmp_path / "norms.json"
    opened = [open_adapter(outside["lora"], base)]
    first = look_into(opened, BaseNorms(file), no_one)
    monkeypatch.setattr("studio.adapters.opened.row_blocks", lambda tensor: pytest.fail("the base was read again"))
    assert look_into(opened, BaseNorms(file), no_one) == first


# --- the file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_numbers_of_every_type_are_read_as_torch_reads_them(tmp_path, dtype):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    exact = (torch.randn(300, 7) * torch.tensor([1e-30, 1e-3, 1.0, 3.0, 1e3, -1.0, 0.0])).to(getattr(torch, dtype))
    save_file({"other": torch.ones(3), "weight": exact}, tmp_path / "file.safetensors")
    tensor = read_header(tmp_path / "file.safetensors")["weight"]
    assert np.array_equal(read(tensor), exact.float().numpy())
    assert np.array_equal(np.concatenate([block for _, block in row_blocks(tensor)]), exact.float().numpy())


def written(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def entry(start=0, end=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


HEADERS = [
    (b"{]", b"", "not valid JSON"),
    (b'{"a": 1, "a": 2}', b"", "not valid JSON"),
    (b"[" * 5000 + b"]" * 5000, b"", "not valid JSON"),
    ([], b"", "not an object"),
    ({"a": entry()}, bytes(4), "end at byte"),
    ({"a": entry()}, bytes(12), "end at byte"),
    ({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), "overlap"),
    ({"a": entry(8, 16)}, bytes(16), "gaps"),
    ({"a": entry(shape=(3,))}, bytes(8), "should have 12 bytes"),
    ({"a": entry(shape=(-2, -1))}, bytes(8), "impossible"),
    ({"a": entry(shape=(2**40, 2**40))}, bytes(8), "should have"),
    ({"a": entry(start=-8, end=0)}, bytes(8), "impossible"),
    ({"a": entry(dtype="PICKLE")}, bytes(8), "unknown type"),
    ({"a": {"shape": [2]}}, bytes(8), "does not say what"),
    ({"a": 7}, bytes(8), "does not say what"),
]


@pytest.mark.parametrize(("header", "body", "reason"), HEADERS, ids=lambda one: str(one)[:30])
def test_a_header_that_cannot_be_is_refused(tmp_path, header, body, reason):
    with pytest.raises(UserError) as caught:
        read_header(written(tmp_path / WEIGHTS, header, body))
    assert reason in caught.value.message


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 16, struct.pack("<Q", 2**40) + b"{}"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, content):
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match="no whole safetensors file"):
        read_header(tmp_path / WEIGHTS)


def test_a_folder_without_an_adapter_is_said(tmp_path):
    with pytest.raises(UserError, match=CONFIG):
        open_adapter(tmp_path, None)
