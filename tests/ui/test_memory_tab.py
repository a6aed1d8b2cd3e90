"""The Memory tab's answers, without a browser."""

import json

import pytest

from studio.errors import UserError
from studio.jobs.memory_plan import setup_of
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.memory import models, simulation
from studio.memory.estimate import GIB, estimate
from studio.memory.shapes import read_shape
from studio.ui.memory_plan import wish_of
from studio.ui.memory_requests import MemoryWish
from tests.ui.conftest import build_site, visitor

WISH = {"model": "meta-llama/Llama-2-7b-hf", "card": "RTX 4090", "batch": 4, "length": 2048, "options": {"r": 16}}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    site = build_site(tmp_path_factory.mktemp("memory"))
    return visitor(site.app)


def test_the_menus_offer_models_cards_and_the_documents_figures(asked):
    menus = asked.get("/api/memory/menus").json()
    assert len(menus["models"]) >= 35
    assert len(menus["cards"]) >= 30
    assert len(menus["document"]) == 12
    assert menus["measured"] == []


def test_an_answer_tells_what_fits_why_and_what_to_change(asked):
    answer = asked.post("/api/memory", json=WISH).json()
    assert answer["fits"] is True
    assert answer["margin"] == answer["usable"] - answer["needed"]
    assert answer["phase"] == "backward_last"
    for name, parts in answer["stacks"].items():
        assert sum(parts.values()) == pytest.approx(answer["phases"][name], abs=10)
    assert {knob["name"] for knob in answer["knobs"]} >= {"quantization_nf4", "batch_half", "checkpointing_off"}
    assert answer["ways"] == []


def test_what_does_not_fit_comes_with_ways_that_do(asked):
    answer = asked.post("/api/memory", json={**WISH, "checkpointing": False}).json()
    assert answer["fits"] is False
    assert 1 <= len(answer["ways"]) <= 3
    way = asked.post("/api/memory", json={**WISH, "checkpointing": False, **answer["ways"][0]["changes"]}).json()
    assert way["fits"] is True


def test_where_nothing_fits_the_leanest_way_can_be_asked_for(asked):
    wish = {**WISH, "model": "meta-llama/Llama-3.1-70B-Instruct", "length": 4096}
    found = asked.post("/api/memory", json=wish).json()["rescue"]
    lean = asked.post("/api/memory", json={**wish, **found["lean"], "card": found["lean_card"]}).json()
    assert lean["fits"] is True
    assert asked.post("/api/memory", json={**wish, **found["lean"], "model": found["model"]}).json()["fits"] is True


def test_a_word_that_is_not_known_is_refused_in_a_sentence(asked):
    for wrong in ({"tuner": "magic"}, {"optim": "adam"}, {"card": "Voodoo 2"}, {"model": "no such model"}):
        answer = asked.post("/api/memory", json={**WISH, **wrong})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_what_is_not_asked_for_is_refused(asked):
    assert asked.post("/api/memory", json={**WISH, "shell": "ls"}).status_code == 422
    assert asked.post("/api/memory", json={**WISH, "batch": 0}).status_code == 422


def test_a_local_model_answers_and_an_unknown_architecture_says_so(asked, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 100, **config}))
    (folder / "model.safetensors").write_bytes(b"")
    answer = asked.post("/api/memory", json={**WISH, "model": str(folder)}).json()
    assert answer["allocated"] < GIB
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "mamba", "vocab_size": 100, **config}))
    assert "mamba" in asked.post("/api/memory", json={**WISH, "model": str(other)}).json()["unknown"]


def test_the_simulation_of_an_unknown_architecture_is_shown_in_place_of_the_formula(asked, tmp_path, monkeypatch):
    from studio.worker import simulate

    monkeypatch.setattr(simulation, "simulate", simulate.simulate)  # in this process: tests/memory starts its own
    config = {"model_type": "olmo2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
              "num_attention_heads": 4, "vocab_size": 100}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    wish = {**WISH, "model": str(tmp_path), "length": 64}
    found = asked.post("/api/memory/simulate", json=wish).json()
    assert found["believed"] == "simulation"
    assert found["shown"]["fits"] is True
    assert set(found["shown"]["stacks"]) == set(found["shown"]["phases"])
    refused = asked.post("/api/memory/simulate", json={**wish, "objective": "grpo"})
    assert refused.status_code == 400
    assert "cannot be simulated" in refused.json()["error"]["message"]


def test_the_plan_of_a_job_tells_its_memory(studio, instructions):
    from studio.ui.memory_plan import memory_of_job

    values = read_presets()["lora"].values(instructions)
    known = memory_of_job(studio, build_spec({**values, "base_model": "meta-llama/Llama-2-7b-hf"}))
    assert known["needed"] > 13 * GIB
    assert memory_of_job(studio, build_spec({**values, "base_model": "nobody/nothing"})) is None


def test_the_plan_takes_the_longest_example_and_the_learned_share_from_the_audit(studio, instructions, tiny_model):
    from studio.data.auditing import audit_dataset
    from studio.data.dataset import read_record
    from studio.ui.memory_plan import audited, memory_of_job
    from tests.conftest import tiny_spec

    spec = tiny_spec("lora", instructions, tiny_model, max_length=4096)
    assert audited(studio, spec) == (None, 1.0, None, None)
    before = memory_of_job(studio, spec)["needed"]
    folder = studio.workspace.dataset(instructions["id"])
    audit_dataset(folder, tiny_model, max_length=4096)
    longest, share, tokens, rows = audited(studio, spec)
    assert rows == read_record(folder).rows
    assert 8 < tokens <= longest
    assert 8 < longest < 400
    assert 0 < share < 1
    plan = memory_of_job(studio, spec)
    assert plan["needed"] < before
    assert MemoryWish(**plan["wish"]).setup().length == longest


def test_the_form_takes_length_and_learned_share_from_a_data_set(studio, instructions, tiny_model):
    from studio.data.auditing import audit_dataset
    from studio.ui.memory_room import MemoryRoom

    room = MemoryRoom(studio)
    assert instructions["id"] in {one["id"] for one in room.menus()["datasets"]}
    with pytest.raises(UserError, match="not known yet"):
        room.lengths(instructions["id"], str(tiny_model))
    audit_dataset(studio.workspace.dataset(instructions["id"]), tiny_model)
    found = room.lengths(instructions["id"], str(tiny_model))
    assert found["own"]
    assert 0 < found["learned"] < 1 < found["tokens"] <= found["longest"]
    with pytest.raises(UserError):
        room.lengths("../../etc", str(tiny_model))


@pytest.mark.parametrize("preset", read_presets())
def test_every_presets_plan_can_be_opened_in_the_memory_tab(preset):
    setup = setup_of(build_spec(read_presets()[preset].values()))
    again = MemoryWish(model="starter", **wish_of(setup)).setup()
    shape = read_shape(models.find("Llama-3.2-1B"))
    assert estimate(again, shape) == estimate(setup, shape)
