"""The matrix of methods, tuners that put learned vectors before the text."""

import pytest

from tests.worker.matrix import check_rows

pytestmark = pytest.mark.slow


def test_every_cell_of_these_tuners_trains_and_answers_the_same_elsewhere(lab, write_matrix):
    check_rows(lab, ("prompt_tuning", "p_tuning", "prefix_tuning", "p_tuning_v2"), write=write_matrix)
