"""Examples held out for evaluation, and a share of general examples against forgetting."""

import json
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from studio.data.audit.contract import to_spans
from studio.data.audit.reading import prompt_and_answers
from studio.data.examples import DatasetType, Example
from studio.errors import UserError

STRATA = 10
KINDS: dict[DatasetType, str] = {
    "language_modeling": "texts and conversations",
    "prompt_completion": "texts and conversations",  # both are learned alike: they may be mixed
    "preference": "preference pairs",
    "unpaired_preference": "labelled answers",
}


@dataclass(frozen=True)
class Mixed:
    """`examples` in their new order; `general_rows` tells which general examples are among them (from 1, spans).

    `taken` is how many they are, `wanted` how many the share asks for; it is more when the general set is too small.
    """

    examples: list[Example]
    general_rows: str
    taken: int
    wanted: int

    @property
    def share(self) -> float:
        """The share of general examples that came about."""
        return self.taken / len(self.examples) if self.examples else 0.0

    @property
    def shortage(self) -> str:
        """A sentence when there were too few general examples, else nothing."""
        if self.taken == self.wanted:
            return ""
        return (
            f"The general data set has only {self.taken} examples, {self.wanted} were wanted: "
            f"they make {self.share:.1%} of the training set. None is repeated."
        )


def split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(train, eval), both in the order of `examples`: about `share` of them evaluate, see `held_out`."""
    chosen = set(held_out(examples, share, seed))
    train = [example for position, example in enumerate(examples) if position not in chosen]
    return train, [examples[position] for position in sorted(chosen)]


def held_out(examples: Sequence[Example], share: float, seed: int) -> list[int]:
    """The positions (from 0, ascending) of the examples that evaluate: at least one, and one is left to train.

    None when `share` is 0 or there are fewer than two examples. Short and long examples are held out alike, and
    examples with the same prompt stay on one side, so the share may be missed by as much as one prompt's examples;
    only when all have the same prompt they are parted. An example's place hardly changes when others are dropped.
    """
    if share <= 0 or len(examples) < 2:
        return []
    wanted = min(max(1, round(len(examples) * share)), len(examples) - 1)
    groups = _groups(examples, seed)
    chosen: list[int] = []
    for upto, stratum in _strata(groups, wanted, len(examples)):
        for _, _, members in stratum:
            if len(chosen) + len(members) <= upto:
                chosen += members
    if not chosen:  # every prompt has more examples than are wanted
        chosen = min(groups, key=lambda group: (len(group[2]), group[1]))[2]
    return sorted(chosen)


def mix(train: list[Example], general: list[Example], share: float, seed: int) -> Mixed:
    """`train` with so many general examples that they make `share` of the result, in a seeded random order.

    They are drawn without repetition: when there are too few, all are taken and `shortage` says so. Raises
    UserError when the two sets cannot be learned together.
    """
    if not 0 <= share < 1:
        raise UserError(f"A share of {share} is not possible.", "Choose a share from 0 to below 1.")
    require_same_kind(train, general)
    chance = random.Random(seed)
    wanted = round(len(train) * share / (1 - share))
    taken = sorted(chance.sample(range(len(general)), min(wanted, len(general))))
    examples = train + [general[position] for position in taken]
    chance.shuffle(examples)
    return Mixed(examples, to_spans(position + 1 for position in taken), len(taken), wanted)


def require_same_kind(train: Sequence[Example], other: Sequence[Example]) -> None:
    """Raise UserError when two sets cannot be learned, or compared, together."""
    ours, theirs = ({KINDS[type_of(example)] for example in examples} for examples in (train, other))
    if ours and theirs and len(ours | theirs) > 1:
        raise UserError(
            f"A data set of {_listed(theirs)} does not go with one of {_listed(ours)}.",
            "Choose two data sets of the same type.",
        )


def type_of(example: Example) -> DatasetType:
    """The type of an example, told by its columns."""
    if "chosen" in example:
        return "preference"
    if "label" in example:
        return "unpaired_preference"
    return "prompt_completion" if "completion" in example else "language_modeling"


Group = tuple[int, bytes, list[int]]
"""(length of its first example, its place in a seeded random order, the positions of its examples)"""


def _groups(examples: Sequence[Example], seed: int) -> list[Group]:
    """The examples by prompt, or each for itself when all have the same."""
    groups: dict[bytes, Group] = {}
    for position, example in enumerate(examples):
        key = _key(prompt_and_answers(example)[0] or example, seed)
        groups.setdefault(key, (_length(example), key, []))[2].append(position)
    if len(groups) > 1:
        return list(groups.values())
    return [
        (_length(example), _key([position, example], seed), [position]) for position, example in enumerate(examples)
    ]


def _strata(groups: list[Group], wanted: int, count: int) -> list[tuple[int, list[Group]]]:
    """(how many to have chosen by its end, its groups in random order) for each stratum, short examples first."""
    groups = sorted(groups, key=lambda group: (group[0], group[1]))
    ends: list[int] = []
    for group in groups:
        ends.append((ends[-1] if ends else 0) + len(group[2]))
    strata, start = [], 0
    for number in range(1, STRATA + 1):
        stop = bisect(ends, count * number / STRATA)
        strata.append((wanted * ends[stop - 1] / count if stop else 0, groups[start:stop]))
        start = stop
    return [(round(upto), sorted(stratum, key=lambda group: group[1])) for upto, stratum in strata]


def _key(value: object, seed: int) -> bytes:
    return blake2b(json.dumps(value).encode(), digest_size=8, key=str(seed).encode()).digest()


def _length(example: Example) -> int:
    """Characters of what is learned: it varies more than the prompt does."""
    return sum(len(answer) for answer in prompt_and_answers(example)[1])


def _listed(kinds: set[str]) -> str:
    return " and ".join(sorted(kinds))
