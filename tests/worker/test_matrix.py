"""The matrix has no hole: every cell is trained by one of the tests, or refused with its reason."""

from pathlib import Path

from scripts.write_docs import cells, noted
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from tests.worker import matrix

FOLDER = Path(__file__).parent


def test_every_tuner_is_in_one_of_the_files():
    texts = [(FOLDER / f"test_matrix_{part}.py").read_text() for part in ("weights", "layers", "prompts")]
    for name in TUNERS:
        assert sum(f'"{name}"' in text for text in texts) == 1, name


def test_every_cell_is_there_and_a_refusal_has_a_reason():
    found = list(cells())
    assert len(found) == len(OBJECTIVES) * len(TUNERS) * 3
    assert len({cell for cell, _ in found}) == len(found)
    refused = {cell: reason for cell, reason in found if reason}
    assert all(len(reason) > 20 for reason in refused.values())
    assert {cell.tuner for cell in refused if cell.quantization == "none"} == set()
    assert {(cell.tuner, cell.quantization) for cell in refused} >= {("full", "nf4"), ("partial", "int8")}


def test_a_cell_is_trained_or_refused_and_nothing_else_is_noted():
    accepted = {cell for cell, reason in cells() if not reason}
    assert set(noted()) == accepted, "run test_matrix_*.py with --write-matrix"


def test_an_adapter_has_a_mark_for_its_weights():
    assert set(matrix.MARKS) == {name for name, tuner in TUNERS.items() if not tuner.whole_model}
    assert set(matrix.TUNER_OPTIONS) <= set(TUNERS)
    assert set(matrix.OBJECTIVE_OPTIONS) <= set(OBJECTIVES)
