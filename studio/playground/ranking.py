"""Bradley–Terry strengths with confidence intervals from pairwise votes; contenders that never met stay apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating[Any]]

NORMAL_95 = 1.959964  # the normal distribution's quantile at 97.5 %
POINTS, MIDDLE = 400 / np.log(10), 1000.0  # 400 points are odds of 10 to 1, as in Elo's scale of chess
STEPS, SMALL = 200, 1e-10
HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Strength:
    """One contender's place: points with the ends of their 95 % interval, in a group of those that can be compared.

    `bounded` is False when half a win had to be added (see `rank`); a contender without a comparison has no points.
    """

    group: int
    points: float | None
    low: float | None
    high: float | None
    bounded: bool = True


def rank(wins: Matrix) -> list[Strength]:
    """The strength of each of k contenders; `wins[i, j]` is how often i was preferred to j, a tie counting ½ for both.

    The model of Bradley and Terry (Biometrika 39, 1952): P(i before j) = σ(θi − θj). Groups are the connected parts of
    the graph of who met whom: between them nothing can be said, so each has a mean of 1000 points of its own. A finite
    maximum of the likelihood exists only where everybody is reachable from everybody by wins (Ford, American
    Mathematical Monthly 64, 1957; Hunter, Annals of Statistics 32, 2004). In a group where somebody lost nothing, or
    won nothing, half a win is added to both sides of every pair that met (Haldane 1956, Anscombe 1956).

    Intervals are ±1.96 standard errors from the inverse of the Fisher information under Σθ = 0. A tie is two halves of
    a vote and varies less than a vote does, so that intervals are too wide rather than too narrow where ties abound.
    """
    strengths: list[Strength | None] = [None] * len(wins)
    for group, members in enumerate(groups_of(wins)):
        if len(members) == 1:
            strengths[members[0]] = Strength(group=group, points=None, low=None, high=None)
            continue
        part = wins[np.ix_(members, members)]
        bounded = _all_reachable(part)
        theta, covariance = fit(part if bounded else part + HALF * (part + part.T > 0))
        for place, member in enumerate(members):
            points = float(MIDDLE + POINTS * theta[place])
            margin = float(NORMAL_95 * POINTS * np.sqrt(covariance[place, place]))
            strengths[member] = Strength(
                group=group, points=points, low=points - margin, high=points + margin, bounded=bounded
            )
    return [strength for strength in strengths if strength is not None]


def groups_of(wins: Matrix) -> list[list[int]]:
    """The connected parts of the graph of who met whom, the largest first; a contender that met nobody is one alone."""
    reach = _reachable((wins + wins.T) > 0)
    parts = {tuple(int(one) for one in np.flatnonzero(row)) for row in reach}
    return [list(part) for part in sorted(parts, key=lambda part: (-len(part), part))]


def fit(wins: Matrix) -> tuple[Matrix, Matrix]:
    """(θ, its covariance), both under Σθ = 0, by Newton's method on the log-likelihood, which is concave.

    `wins` is k × k with everybody reachable from everybody by wins. Raises ValueError otherwise: there is no maximum.
    """
    if not _all_reachable(wins):
        raise ValueError("the Bradley–Terry likelihood has no maximum for these votes")
    met = wins + wins.T
    theta: Matrix = np.zeros(len(wins))
    for _ in range(STEPS):
        expected = _sigmoid(theta[:, None] - theta[None, :])
        gradient = (wins - met * expected).sum(axis=1)
        covariance: Matrix = np.linalg.pinv(information(theta, met), hermitian=True)
        step = covariance @ gradient
        if np.abs(step).max() < SMALL:
            return theta, covariance
        size, now = 1.0, likelihood(theta, wins)
        while likelihood(theta + size * step, wins) < now - SMALL * abs(now) and size > SMALL:
            size /= 2
        theta = theta + size * step
    raise RuntimeError("Newton's method did not converge")


def information(theta: Matrix, met: Matrix) -> Matrix:
    """The Fisher information of θ, k × k: the Laplacian of the graph whose edges weigh n·p·(1 − p)."""
    chance = _sigmoid(theta[:, None] - theta[None, :])
    weights = met * chance * (1 - chance)
    laplacian: Matrix = np.diag(weights.sum(axis=1)) - weights
    return laplacian


def likelihood(theta: Matrix, wins: Matrix) -> float:
    """The log-likelihood of θ: Σ wins[i, j] · log σ(θi − θj)."""
    return float(-(wins * np.logaddexp(0, theta[None, :] - theta[:, None])).sum())


def win_matrix(pairs: Sequence[tuple[int, int, float]], count: int) -> Matrix:
    """`wins` from (first, second, share of the first: 1, ½ or 0), one a vote."""
    wins = np.zeros((count, count))
    for first, second, share in pairs:
        wins[first, second] += share
        wins[second, first] += 1 - share
    return wins


def _sigmoid(value: Matrix) -> Matrix:
    result: Matrix = 0.5 * (1 + np.tanh(value / 2))  # the logistic function, without overflow
    return result


def _all_reachable(wins: Matrix) -> bool:
    return bool(_reachable(wins > 0).all())


def _reachable(edges: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Who is reached from whom in any number of steps, itself included (Warshall)."""
    reach = edges | np.eye(len(edges), dtype=bool)
    for middle in range(len(edges)):
        reach |= np.outer(reach[:, middle], reach[middle])
    return reach
