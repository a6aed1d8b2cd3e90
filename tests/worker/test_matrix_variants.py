"""What the matrix tries with a tuner's defaults, tried with its other options where those could matter most."""

import pytest

from scripts.write_docs import Cell, refusal
from tests.worker.matrix import check_tried, try_cell
from tests.worker.test_tuners import VARIANTS

pytestmark = pytest.mark.slow


TRIED = [("sft", "nf4"), ("reward", "none"), ("orpo", "none")]
QUANTIZED = {"pissa", "pissa-niter", "olora", "shira-gradient"}  # what begins in the base's weights needs them whole


def test_every_variant_of_a_tuner_trains_and_answers_the_same_elsewhere(lab):
    done = []
    for objective, quantization in TRIED:
        refused = set()
        for name, options in VARIANTS.items():
            if refusal(objective, options, quantization):
                refused.add(name)
            elif len(options) > 1:
                rest = {option: value for option, value in options.items() if option != "name"}
                done.append(try_cell(lab, Cell(objective, options["name"], quantization), **rest))
        assert refused == (QUANTIZED if quantization == "nf4" else set())
    check_tried(lab, done)
