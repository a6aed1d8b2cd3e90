"""Bradley–Terry: cases done by hand, contenders that never met, and how often the intervals hold what they promise."""

import numpy as np
import pytest

from studio.playground.ranking import MIDDLE, NORMAL_95, POINTS, fit, groups_of, rank, win_matrix


def votes(*counts):
    """(first, second, wins of the first, wins of the second, ties) → the pairs of a win matrix."""
    pairs = []
    for first, second, won, lost, ties in counts:
        pairs += [(first, second, 1.0)] * won + [(first, second, 0.0)] * lost + [(second, first, 0.5)] * ties
    return pairs


def test_two_contenders_are_as_far_apart_as_the_odds_say():
    """3 : 1 are odds of 3, so θ = ±½ ln 3; the Fisher information of the difference is n·p·q = 4·¾·¼."""
    first, second = rank(win_matrix(votes((0, 1, 3, 1, 0)), 2))
    half = np.log(3) / 2
    margin = NORMAL_95 * np.sqrt(1 / (4 * 0.75 * 0.25)) / 2
    assert first.points == pytest.approx(MIDDLE + POINTS * half)
    assert (first.low, first.high) == pytest.approx(
        (MIDDLE + POINTS * (half - margin), MIDDLE + POINTS * (half + margin))
    )
    assert second.points == pytest.approx(2 * MIDDLE - first.points)
    assert first.bounded


def test_a_tie_is_half_a_win_for_both():
    assert rank(win_matrix(votes((0, 1, 2, 0, 2)), 2)) == rank(win_matrix(votes((0, 1, 3, 1, 0)), 2))


def test_three_contenders_meet_the_equations_of_the_maximum():
    """At the maximum everybody won as often as was to be expected (Ford 1957)."""
    wins = win_matrix(votes((0, 1, 6, 2, 1), (1, 2, 5, 3, 0), (0, 2, 4, 1, 2)), 3)
    theta, covariance = fit(wins)
    expected = (wins + wins.T) / (1 + np.exp(theta[None, :] - theta[:, None]))
    assert expected.sum(axis=1) == pytest.approx(wins.sum(axis=1))
    assert theta.sum() == pytest.approx(0)
    assert covariance.sum(axis=1) == pytest.approx(np.zeros(3))


def test_who_never_met_is_not_compared():
    """0 and 1 met, 2 and 3 met, 4 met nobody; both groups have the same mean and say nothing of each other."""
    wins = win_matrix(votes((0, 1, 2, 1, 0), (2, 3, 9, 1, 0)), 5)
    assert groups_of(wins) == [[0, 1], [2, 3], [4]]
    strengths = rank(wins)
    assert [one.group for one in strengths] == [0, 0, 1, 1, 2]
    assert sum(one.points for one in strengths[:2]) == pytest.approx(sum(one.points for one in strengths[2:4]))
    assert strengths[4].points is None
    assert strengths[0] == rank(win_matrix(votes((0, 1, 2, 1, 0)), 2))[0]


def test_who_lost_nothing_gets_a_finite_place_and_it_is_said():
    """10 : 0 would be infinitely far: half a win on both sides makes it 10½ : ½."""
    first, second = rank(win_matrix(votes((0, 1, 10, 0, 0)), 2))
    assert first.points - second.points == pytest.approx(POINTS * np.log(10.5 / 0.5))
    assert not first.bounded
    assert not second.bounded
    with pytest.raises(ValueError, match="no maximum"):
        fit(win_matrix(votes((0, 1, 10, 0, 0)), 2))


@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_intervals_cover_the_truth_as_often_as_they_promise(ties):
    """200 simulated arenas of 4 contenders and 120 votes: 95 % of 800 intervals, ± three standard errors.

    With ties the intervals may be too wide, never too narrow.
    """
    random = np.random.default_rng(7)
    true = np.array([0.6, 0.1, -0.2, -0.5])
    hits = 0
    for _ in range(200):
        pairs = []
        for _ in range(120):
            first, second = random.choice(4, 2, replace=False)
            chance = 1 / (1 + np.exp(true[second] - true[first]))
            # A tie keeps the expected share of wins: it takes from both sides alike.
            tie = random.random() < ties * 4 * chance * (1 - chance)
            even = (chance - ties * 2 * chance * (1 - chance)) / (1 - ties * 4 * chance * (1 - chance))
            pairs.append((first, second, 0.5 if tie else float(random.random() < even)))
        for strength, points in zip(rank(win_matrix(pairs, 4)), MIDDLE + POINTS * true, strict=True):
            hits += strength.low <= points <= strength.high
    assert hits / 800 > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 800)
    if not ties:
        assert hits / 800 < 0.95 + 3 * np.sqrt(0.95 * 0.05 / 800)
