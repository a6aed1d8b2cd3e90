"""The table of an arena: who met whom, who won, and how sure that is, of all votes or of some."""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from studio.playground.ranking import rank, win_matrix
from studio.playground.votes import Ballot, Contender, Counted, counting

TYPED = "typed"  # in place of a data set: prompts that were typed
SHARES = {"left": 1.0, "right": 0.0, "tie": 0.5}


def chosen(
    counted: Counted, *, dataset: str = "", voter: str = "", contenders: Collection[str] = ()
) -> Iterator[Ballot]:
    """The ballots that count, of one data set (TYPED: of none), one voter, between two of some contenders (keys)."""
    for ballot in counting(counted):
        vote = ballot.vote
        if dataset and (vote.dataset or TYPED) != dataset:
            continue
        if voter and vote.voter != voter:
            continue
        if contenders and not {vote.left.contender.key, vote.right.contender.key} <= set(contenders):
            continue
        yield ballot


def standings(ballots: list[Ballot]) -> dict[str, Any]:
    """{contenders, wins, ties, both_bad, groups, votes, left_share}: what a page draws, best first in each group.

    `wins[i][j]` counts the votes for i against j, `ties` and `both_bad` are symmetric; ties count half a win each in
    the strengths, "both bad" not at all. `left_share` is that of the left side among the votes for a side: far from a
    half it tells of a habit of the voter's rather than of the answers.
    """
    people: dict[str, Contender] = {}
    for ballot in ballots:
        for contender in (ballot.vote.left.contender, ballot.vote.right.contender):
            people[contender.key] = contender
    keys = list(people)
    pairs = [_pair(ballot, keys) for ballot in ballots]
    counted = [(i, j, SHARES[outcome]) for i, j, outcome in pairs if outcome in SHARES]
    strengths = rank(win_matrix(counted, len(keys)))
    order = sorted(range(len(keys)), key=lambda i: (strengths[i].group, -(strengths[i].points or 0), keys[i]))
    wins, ties, both_bad = (_matrix(pairs, order, outcome) for outcome in ("side", "tie", "both_bad"))
    names = _names([people[keys[i]] for i in order])
    sides = Counter(outcome for _, _, outcome in pairs)
    decided = sides["left"] + sides["right"]
    return {
        "contenders": [
            {
                **vars(strengths[index]),
                "key": keys[index],
                "choice": people[keys[index]].choice,
                "name": names[place],
                "base_model": people[keys[index]].base_model,
                "wins": int(wins[place].sum()),
                "losses": int(wins[:, place].sum()),
                "ties": int(ties[place].sum()),
                "both_bad": int(both_bad[place].sum()),
            }
            for place, index in enumerate(order)
        ],
        "wins": wins.tolist(),
        "ties": ties.tolist(),
        "both_bad": both_bad.tolist(),
        "groups": len({strength.group for strength in strengths}),
        "votes": len(ballots),
        "left_share": sides["left"] / decided if decided else None,
    }


def _pair(ballot: Ballot, keys: list[str]) -> tuple[int, int, str]:
    vote = ballot.vote
    return keys.index(vote.left.contender.key), keys.index(vote.right.contender.key), vote.outcome


def _matrix(pairs: list[tuple[int, int, str]], order: list[int], outcome: str) -> Any:
    """Votes by (row, column) in the table's order: the row's wins for "side", else votes of that outcome, both ways."""
    place = {index: number for number, index in enumerate(order)}
    matrix = np.zeros((len(order), len(order)), dtype=int)
    for i, j, found in pairs:
        left, right = place[i], place[j]
        if outcome == "side" and found in ("left", "right"):
            matrix[(left, right) if found == "left" else (right, left)] += 1
        elif outcome == found:
            matrix[left, right] += 1
            matrix[right, left] += 1
    return matrix


def _names(contenders: list[Contender]) -> list[str]:
    """Names to show: those that two share get a piece of their key."""
    twice = {a.name for a, b in combinations(contenders, 2) if a.name == b.name}
    return [f"{one.name} ({one.key[-6:]})" if one.name in twice else one.name for one in contenders]
