"""The memory room and the methods' room say the same of a job: its methods, and how many weights learn."""

import pytest

from studio.jobs.memory_plan import setup_of
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.memory import models, setup
from studio.memory.estimate import estimate
from studio.memory.shapes import read_shape
from studio.methods.objectives import OBJECTIVES
from studio.methods.parameters import trainable_parameters as count_by_methods
from studio.methods.tuners import TUNERS


@pytest.mark.parametrize("preset", read_presets())
def test_the_form_and_the_estimate_count_the_same_weights(preset):
    spec = build_spec(read_presets()[preset].values())
    compared = 0
    for name, config in models.well_known().items():
        count = count_by_methods(spec.tuner, config, scores=OBJECTIVES[spec.objective.name].task_type == "SEQ_CLS")
        if count is not None:
            assert estimate(setup_of(spec), read_shape(config)).trainable_parameters == count, name
            compared += 1
    assert compared > 20


def test_the_estimate_knows_every_tuner_and_objective():
    assert set(setup.TUNERS) == set(TUNERS)
    assert set(setup.OBJECTIVES) == set(OBJECTIVES)
