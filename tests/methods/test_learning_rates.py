"""The warning about learning rates: no preset and no advice earns it."""

import math

import pytest

from studio.jobs.presets import read_presets
from studio.methods.learning_rates import gentle_limit
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS


def test_all_weights_and_preferences_take_smaller_steps():
    assert gentle_limit("sft", "lora") > gentle_limit("sft", "full") > gentle_limit("dpo", "full")
    assert gentle_limit("sft", "lora") > gentle_limit("dpo", "lora")
    assert gentle_limit("sft", "prompt_tuning") == math.inf


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tuner", TUNERS)
def test_every_method_has_a_limit(objective, tuner):
    assert gentle_limit(objective, tuner) >= 1e-5


@pytest.mark.parametrize("name", read_presets())
def test_a_preset_stays_below(name):
    values = read_presets()[name].values()
    assert values["learning_rate"] <= gentle_limit(values["objective"]["name"], values["tuner"]["name"])
