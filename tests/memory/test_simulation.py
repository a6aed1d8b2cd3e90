"""Formula against the simulation of the real model class; all of them: `python -m benchmarks`."""

from pathlib import Path

import pytest
import yaml

from studio.errors import UserError
from studio.memory import models, simulation
from studio.memory.estimate import estimate
from studio.memory.gpus import find
from studio.memory.setup import Setup
from studio.memory.shapes import read_shape

ALL = yaml.safe_load((Path(__file__).with_name("simulated.yaml")).read_text(encoding="utf-8"))
QUICK = [row for row in ALL if row.get("quick")]


def difference(row):
    from studio.worker.simulate import simulate

    setup = Setup(**{key: value for key, value in row.items() if key not in ("model", "quick")})
    config = models.well_known()[row["model"]]
    return estimate(setup, read_shape(config)).allocated / simulate(config, setup)["allocated"] - 1


def test_there_are_more_than_forty_configurations():
    assert len(ALL) == 41
    assert {row.get("tuner", "lora") for row in ALL} >= {"full", "lora", "partial", "ia3", "adalora", "prompt_tuning"}


@pytest.mark.slow
@pytest.mark.parametrize("row", QUICK, ids=lambda row: "-".join(str(value) for value in row.values())[:70])
def test_formula_and_simulation_agree_within_two_percent(row):
    assert abs(difference(row)) <= 0.02


@pytest.mark.slow
def test_the_simulation_runs_in_a_process_of_its_own_for_an_unknown_architecture():
    config = {
        "model_type": "olmo2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
        "num_attention_heads": 8, "vocab_size": 4096, "tie_word_embeddings": False,
    }  # fmt: skip
    setup = Setup(batch=2, length=128)
    found = simulation.simulate(config, setup)
    values = simulation.alone(found, setup, find("RTX 4090"))
    layer = 4 * 256 * 256 + 3 * 256 * 512 + 4 * 256
    assert values["weights"] == pytest.approx(2 * (8 * layer + 256 + 2 * 4096 * 256), rel=0.01)
    assert values["fits"] is True
    assert values["simulation"]["believed"] == "simulation"


def test_a_model_class_that_does_not_exist_is_told_in_a_sentence():
    with pytest.raises(UserError, match="cannot be simulated"):
        simulation.simulate({"model_type": "no-such-model", "num_hidden_layers": 2}, Setup())


@pytest.mark.parametrize(
    "changes",
    [{"optim": "adafactor"}, {"loss": "liger"}, {"objective": "ppo"}, {"objective": "reward"}, {"quantization": "int8"},
     {"tuner": "shira"}, {"cards": 4, "sharding": "zero3"}, {"modules_to_save": ("lm_head",)}],
    ids=str,
)  # fmt: skip
def test_what_would_be_simulated_as_something_else_is_refused(changes):
    from studio.worker.simulate import simulate

    with pytest.raises(UserError, match="cannot be simulated") as refused:
        simulate(models.find("Llama-3.2-1B"), Setup(**changes))
    assert "Simulated are" in refused.value.hint


@pytest.mark.slow
def test_paged_states_are_not_simulated_on_the_card():
    paged, eight = (
        {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "tuner": "full", "optim": optim, "batch": 1, "length": 64}
        for optim in ("paged_adamw_32bit", "paged_adamw_8bit")
    )
    assert abs(difference(paged)) <= 0.02
    assert abs(difference(eight)) <= 0.02


def test_a_simulation_that_differs_much_is_believed():
    setup = Setup()
    values = {"weights": 10, "adapter": 0, "optimizer": 0, "allocated": 110.0}
    near = simulation.compare({"allocated": 108, "phase": "loss", "phases": {}, "parts": {}}, 110.0)
    far = simulation.compare({"allocated": 100, "phase": "loss", "phases": {}, "parts": {}}, 110.0)
    assert near["believed"] == "formula"
    assert simulation.merge(values, near, setup, None)["allocated"] == 110.0
    assert far["believed"] == "simulation"
    assert simulation.merge(values, far, setup, None)["allocated"] == 100
