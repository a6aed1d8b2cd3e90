"""What the matrix tries with a tuner's defaults, tried with its other options where those could matter most."""

import pytest

from scripts.write_docs import Cell, refusal
from tests.worker.matrix import check_tried, try_cell
from tests.worker.test_tuners import VARIANTS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("objective", "quantization"), [("sft", "nf4"), ("reward", "none"), ("orpo", "none")])
def test_every_variant_of_a_tuner_trains_and_answers_the_same_elsewhere(lab, objective, quantization):
    done, refused = [], set()
    for name, options in VARIANTS.items():
        if refusal(objective, options, quantization):
            refused.add(name)
        elif len(options) > 1:
            rest = {option: value for option, value in options.items() if option != "name"}
            done.append(try_cell(lab, Cell(objective, options["name"], quantization), **rest))
    check_tried(lab, done)
    quantized = {"pissa", "pissa-niter", "olora", "shira-gradient"}
    assert refused == (quantized if quantization == "nf4" else set())
