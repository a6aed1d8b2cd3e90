"""Formula against the simulation of the real model class; all of them: `python -m benchmarks`."""

from pathlib import Path

import pytest
import yaml

from studio.errors import UserError
from studio.memory import models, simulation
from studio.memory.estimate import estimate
from studio.memory.gpus import find
from studio.memory.setup import CHOICES, Setup
from studio.memory.shapes import read_shape

ALL = yaml.safe_load((Path(__file__).with_name("simulated.yaml")).read_text(encoding="utf-8"))
QUICK = [row for row in ALL if row.get("quick")]


def difference(row):
    from studio.worker.simulate import simulate

    setup = Setup(**{key: value for key, value in row.items() if key not in ("model", "quick")})
    config = models.well_known()[row["model"]]
    return estimate(setup, read_shape(config)).allocated / simulate(config, setup)["allocated"] - 1


def test_the_configurations_hold_what_can_be_simulated():
    assert len(ALL) == 63

    def said(name, default):
        return {row.get(name, default) for row in ALL}

    assert said("tuner", "lora") >= {
        "full", "lora", "partial", "ia3", "adalora", "prompt_tuning", "bottleneck", "shira",
    }  # fmt: skip
    assert said("objective", "sft") == {"sft", "dpo", "kto", "orpo", "cpo", "reward"}
    assert said("quantization", "none") == set(CHOICES["quantization"])
    assert said("optim", "adamw_torch_fused") == {"adamw_torch_fused", "adamw_torch", "adamw_8bit", "adafactor"}


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


def test_a_worker_that_fails_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(simulation, "WORKER", "studio.no_such_worker")
    with pytest.raises(UserError, match="gpt9 cannot be simulated.*No module named"):
        simulation.simulate({"model_type": "gpt9", "num_hidden_layers": 2}, Setup())


@pytest.mark.parametrize(
    "changes",
    [{"loss": "liger"}, {"objective": "ppo"}, {"objective": "grpo"}, {"objective": "orpo", "tuner": "prompt_tuning"},
     {"cards": 4, "sharding": "zero3"}, {"modules_to_save": ("lm_head",)}, {"loss": "full", "logit_bytes": 14.0}],
    ids=str,
)  # fmt: skip
def test_what_would_be_simulated_as_something_else_is_refused(changes):
    from studio.worker.simulate import simulate

    with pytest.raises(UserError, match="cannot be simulated") as refused:
        simulate(models.find("Llama-3.2-1B"), Setup(**changes))
    assert "Simulated are" in refused.value.hint


@pytest.mark.slow
def test_paged_states_are_not_simulated_on_the_card():
    paged = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "tuner": "full", "batch": 1, "length": 64}
    assert abs(difference({**paged, "optim": "paged_adamw_8bit"})) <= 0.02


def test_int8_keeps_its_inputs_in_spite_of_checkpointing():
    shape = read_shape(models.find("Llama-3.1-8B"))
    four, eight = (estimate(Setup(batch=4, quantization=name), shape) for name in ("nf4", "int8"))
    tokens = 4 * 1024 * shape.layers
    assert eight.terms.checkpoints - four.terms.checkpoints == 2 * tokens * (3 * shape.hidden + shape.intermediate)


def test_a_simulation_that_differs_much_is_believed():
    setup = Setup()
    values = {"weights": 10, "adapter": 0, "optimizer": 0, "allocated": 110.0}
    near = simulation.compare({"allocated": 108, "phase": "loss", "phases": {}, "parts": {}}, 110.0)
    far = simulation.compare({"allocated": 100, "phase": "loss", "phases": {}, "parts": {}}, 110.0)
    assert near["believed"] == "formula"
    assert simulation.merge(values, near, setup, None)["allocated"] == 110.0
    assert far["believed"] == "simulation"
    assert simulation.merge(values, far, setup, None)["allocated"] == 100
