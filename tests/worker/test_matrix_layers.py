"""The matrix of methods, tuners that put something of their own into the layers."""

import pytest

from tests.worker.matrix import check_rows

pytestmark = pytest.mark.slow


def test_every_cell_of_these_tuners_trains_and_answers_the_same_elsewhere(lab, write_matrix):
    check_rows(lab, ("ia3", "bottleneck", "shira"), write=write_matrix)
