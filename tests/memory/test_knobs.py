"""Knobs, ways that fit, the table of cards, speed, calibration, and the document's figures."""

from dataclasses import replace
from pathlib import Path

import pytest

from studio.memory import calibration, document, knobs, models
from studio.memory.calibration import Measured
from studio.memory.estimate import CONTEXT, GIB, SLACK, Box, estimate
from studio.memory.gpus import catalogue, find
from studio.memory.rescue import rescue
from studio.memory.setup import OBJECTIVES, TUNERS, Setup
from studio.memory.shapes import read_shape
from studio.memory.speed import flops_per_token, tokens_per_second

LLAMA = read_shape(models.find("meta-llama/Llama-2-7b-hf"))


def test_every_knob_tells_the_difference_of_a_new_estimate():
    setup = Setup(batch=4, length=2048, checkpointing=False)
    rows = knobs.knobs(setup, LLAMA, 24 * GIB)
    now = estimate(setup, LLAMA).needed
    for row in rows:
        then = estimate(replace(setup, **row["changes"]), LLAMA).needed
        assert row["bytes"] == round(then - now)
        assert row["fits"] == (then <= 24 * GIB)
    assert [row["bytes"] for row in rows] == sorted(row["bytes"] for row in rows)
    assert rows[0]["name"] == "checkpointing_on"
    assert rows[0]["speed"] < 0


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_alternative_is_a_configuration(tuner, objective):
    setup = Setup(tuner=tuner, objective=objective, batch=8, attention="eager", loss="full", optim="adamw_torch")
    for _, changes in knobs.alternatives(setup, LLAMA):
        assert replace(setup, **changes) != setup


@pytest.mark.parametrize("usable", [6, 8, 12, 16, 24])
@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_ways_to_fit_do_fit_and_there_are_three_at_most(usable, tuner):
    setup = Setup(tuner=tuner, batch=16, length=4096, checkpointing=False)
    ways = knobs.settings_that_fit(setup, LLAMA, usable * GIB)
    assert len(ways) <= 3
    for way in ways:
        assert estimate(replace(setup, **way["changes"]), LLAMA).needed <= usable * GIB


def test_a_seven_billion_model_on_24_gib_is_offered_three_ways():
    setup = Setup(batch=4, length=2048, checkpointing=False)
    assert len(knobs.settings_that_fit(setup, LLAMA, 23.6 * GIB)) == 3


def test_the_table_says_which_card_holds_which_method():
    sizes = {card.name: card.usable for card in catalogue().values()}
    rows = {row["method"]: row for row in knobs.table(Setup(length=2048), LLAMA, sizes)}
    assert rows["qlora"]["cards"]["RTX 3060 12GB"]
    assert rows["lora"]["cards"]["RTX 4090"]
    assert not rows["lora"]["cards"]["RTX 3060 12GB"]
    assert not rows["full"]["cards"]["RTX 4090"]
    assert rows["full"]["cards"]["H200"]


def test_speed_follows_the_operations():
    lora, full = Setup(checkpointing=False), Setup(tuner="full", checkpointing=False)
    assert flops_per_token(full, LLAMA) == pytest.approx(6 * LLAMA.parameters, rel=0.1)
    assert flops_per_token(lora, LLAMA) == pytest.approx(4 * LLAMA.parameters, rel=0.1)
    assert flops_per_token(replace(lora, checkpointing=True), LLAMA) > flops_per_token(lora, LLAMA)
    fast, slow = find("H100 80GB"), find("T4")
    assert tokens_per_second(lora, LLAMA, fast) > 10 * tokens_per_second(lora, LLAMA, slow)
    assert tokens_per_second(lora, LLAMA, fast, factor=0.5) == tokens_per_second(lora, LLAMA, fast) / 2
    assert tokens_per_second(lora, LLAMA, find("24 GiB")) is None


def test_the_docs_have_the_documents_figures_as_they_are():
    docs = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")
    for line in document.table():
        assert line in docs


def test_where_no_knob_helps_a_card_a_method_or_a_model_is_named():
    seventy = read_shape(models.find("meta-llama/Llama-3.1-70B-Instruct"))
    setup, usable = Setup(batch=4, length=4096), find("RTX 4090").usable
    assert knobs.settings_that_fit(setup, seventy, usable) == []
    found = rescue(setup, seventy, usable)
    lean = replace(setup, **found["lean"])
    assert estimate(setup, seventy).fits(find(found["card"]).usable)
    assert estimate(lean, seventy).fits(find(found["lean_card"]).usable)
    assert find(found["lean_card"]).usable < find(found["card"]).usable
    assert found["length"] is None
    assert estimate(lean, read_shape(models.find(found["model"]))).fits(usable)
    assert rescue(replace(setup, tuner="full"), seventy, usable)["card"] is None
    shorter = rescue(Setup(length=100_000), LLAMA, 8 * GIB)["length"]
    assert estimate(replace(Setup(length=shorter), **found["lean"]), LLAMA).fits(8 * GIB)


def job(number, **more):
    values = {
        "job": f"job-{number}", "card": "RTX 4090", "predicted": 10 * GIB, "resident": 6 * GIB,
        "allocated": 10.5 * GIB, "reserved": 11 * GIB, "driver": 11.7 * GIB,
    }  # fmt: skip
    return Measured(**{**values, **more})


def test_three_jobs_of_a_card_correct_its_predictions_and_fewer_do_not():
    assert calibration.fit([job(1), job(2)], "RTX 4090") == Box(context=CONTEXT, slack=SLACK)
    box = calibration.fit([job(1), job(2), job(3), job(4, card="T4", allocated=1)], "RTX 4090")
    assert box.jobs == 3
    assert box.factor == pytest.approx(1.05)
    assert box.context == pytest.approx(0.7 * GIB)
    assert box.slack == pytest.approx(0.5 / 4.5)


def test_one_odd_job_changes_little_and_a_fault_is_not_learned():
    box = calibration.fit([job(1), job(2), job(3), job(4, allocated=30 * GIB, reserved=31 * GIB)], "RTX 4090")
    assert box.factor == pytest.approx(1.05)
    far = calibration.fit([job(n, allocated=30 * GIB) for n in range(3)], "RTX 4090")
    assert far.factor == calibration.WIDEST


def test_speed_is_corrected_by_jobs_that_told_theirs():
    jobs = [job(n, tokens_per_second=900.0, predicted_tokens_per_second=1000.0) for n in range(3)]
    assert calibration.speed_factor(jobs, "RTX 4090") == (pytest.approx(0.9), 3)
    assert calibration.speed_factor(jobs[:1], "RTX 4090") == (1.0, 0)


def test_predicted_stands_beside_measured():
    (row,) = calibration.rows([job(1)])
    assert row["error"] == pytest.approx(10 / 10.5 - 1)
    assert row["predicted"] == 10 * GIB


def test_the_documents_figures_are_reproduced_and_judged():
    rows = {row["id"]: row for row in document.beside()}
    assert len(rows) == 12
    assert {row["verdict"] for row in rows.values()} == set(document.VERDICTS)
    assert rows["full_7b"]["estimate"] == pytest.approx(53.9, abs=0.2)
    assert rows["script_bf16"]["estimate"] == pytest.approx(26.3, abs=0.2)
    assert rows["script_qlora"]["estimate"] == pytest.approx(16.7, abs=0.2)
    assert rows["lora_7b"]["estimate"] == pytest.approx(13.8, abs=0.1)
    assert rows["full_65b"]["estimate"] == pytest.approx(783.4, abs=0.1)
    assert rows["qlora_65b"]["estimate"] == pytest.approx(41.4, abs=0.3)
    assert rows["printed_count"]["estimate"] == 8_388_608


def test_every_figure_speaks_two_languages_and_says_what_was_measured_and_where():
    for row in document.beside():
        assert row["en"]
        assert row["zh"]
        assert row["quote"]
    measured = {row["id"]: row["measured"] for row in document.beside() if row["measured"]}
    assert set(measured) == {
        "full_7b", "lora_7b", "script_qlora", "qlora_65b", "cards_qlora_65b", "timeline", "printed_count",
    }  # fmt: skip
    for one in measured.values():
        assert one["value"] > 0
        assert one["unit"] in ("GB", "GiB", "weights")
        assert one["what"]
        assert one["source"]
