"""Rounds in which two hidden contenders answer: who is which is known here alone until there is a vote."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from typing import Any

from studio.errors import UserError
from studio.playground.client import Settings
from studio.playground.rounds import MOST_KEPT, Round, RoundFolder, Said
from studio.playground.votes import LONGEST_FINISH, SIDES, Contender, Outcome, Prompt, Shown, Side, Vote, VoteStore

MOST_ANSWERING = 12  # at once, of all voters
PATIENCE = 90.0  # seconds: a round that nobody looked at for so long stops answering

Answers = Iterator[tuple[Said, Said]]
"""The left and the right answer as they grow; closing it stops them."""


class Arena:
    """The rounds of one studio; safe to share between threads. Votes go into the store.

    Rounds are in memory; those that wait for a vote are in a folder too, so that a restart does not lose them.
    """

    def __init__(self, store: VoteStore, folder: RoundFolder) -> None:
        self.store, self._folder = store, folder
        self._rounds: dict[str, Round] = {}
        self._lock = threading.Lock()
        self._runners = ThreadPoolExecutor(max_workers=MOST_ANSWERING, thread_name_prefix="arena")

    def open(
        self,
        contenders: list[Contender],
        answering: Callable[[Contender, Contender], Answers],
        *,
        voter: str,
        prompt: Prompt,
        dataset: str,
        settings: Settings,
    ) -> str:
        """Draw two of the contenders in random order and let them answer; returns the round's id.

        `answering(left, right)` is called at once, so that what it refuses is told here. Raises UserError.
        """
        left, right = secrets.SystemRandom().sample(contenders, 2)
        with self._lock:
            if sum(one.state() == "answering" for one in self._rounds.values()) >= MOST_ANSWERING:
                raise UserError("Too many rounds are being answered at once.", "Wait for one of them to end.")
            one = Round(
                id=secrets.token_hex(16),
                voter=voter,
                prompt=prompt,
                dataset=dataset,
                settings=settings,
                pair=(left, right),
            )
            one.work = self._runners.submit(self._follow, one, answering(left, right))
            self._rounds[one.id] = one
            while len(self._rounds) > MOST_KEPT:
                self._rounds.pop(next(iter(self._rounds))).left.set()
        return one.id

    def look(self, round_id: str, voter: str) -> dict[str, Any]:
        """What the voter may see: prompt, state, both answers and how they ended; who gave them only after the vote.

        Of a round that failed, the error: nobody can vote on it any more. Raises UserError for an id that is not known.
        """
        one = self._round(round_id, voter)
        one.looked = time.monotonic()
        state = one.state()
        told: dict[str, Any] = {"round": one.id, "state": state, "prompt": one.prompt}
        told |= {side: said.text for side, said in zip(SIDES, one.answers, strict=True)}
        told["finish"] = {side: said.finish for side, said in zip(SIDES, one.answers, strict=True)}
        if state == "failed":
            assert one.work is not None
            error = one.work.exception()
            if not isinstance(error, UserError):
                one.work.result()
            told["error"] = {"message": getattr(error, "message", ""), "hint": getattr(error, "hint", "")}
        return told | ({"revealed": revealed(one.pair)} if state == "voted" else {})

    def vote(self, round_id: str, voter: str, outcome: Outcome, rewritten: dict[Side, str]) -> dict[str, Any]:
        """Keep the vote and tell who was who. Raises UserError before the answers are whole, and at a second vote."""
        one = self._round(round_id, voter)
        with self._lock:
            state = one.state()
            if state == "voted":
                raise UserError("This round has a vote already.", "Take the next prompt.")
            if state != "ready":
                raise UserError("Both answers have to be whole before the vote.", "Wait, or take the next prompt.")
            self.store.cast(vote_of(one, outcome, rewritten))
            one.voted = True
            self._folder.drop(one.id)
        return revealed(one.pair)

    def leave(self, round_id: str, voter: str) -> None:
        """Nobody wants to see the answers any more: stop them. Raises UserError for an id that is not known."""
        self._round(round_id, voter).left.set()

    def _round(self, round_id: str, voter: str) -> Round:
        with self._lock:
            one = self._rounds.get(round_id) or self._folder.find(round_id)
            if one is not None:
                self._rounds[round_id] = one
        if one is None or one.voter != voter:
            raise UserError("That round is not known.", "Take the next prompt.")
        return one

    def _follow(self, one: Round, answers: Answers) -> None:
        with closing(answers):  # type: ignore[type-var] # every generator can be closed
            for pair in answers:
                one.answers = pair
                if one.left.is_set() or time.monotonic() - one.looked > PATIENCE:
                    one.left.set()
                    return
        self._folder.keep(one)


def revealed(pair: tuple[Contender, Contender]) -> dict[str, Any]:
    """Who stood on which side."""
    return {side: {"choice": one.choice, "name": one.name} for side, one in zip(SIDES, pair, strict=True)}


def vote_of(one: Round, outcome: Outcome, rewritten: dict[Side, str]) -> Vote:
    """A round's vote as it is kept. A text that says the same as the answer is no rewriting."""
    shown = {
        side: Shown(
            contender=contender,
            answer=said.text,
            finish=said.finish[:LONGEST_FINISH],
            rewritten=_other(rewritten.get(side, ""), said.text),
        )
        for side, contender, said in zip(SIDES, one.pair, one.answers, strict=True)
    }
    return Vote(
        round=one.id,
        voter=one.voter,
        prompt=one.prompt,
        dataset=one.dataset,
        settings=asdict(one.settings),
        left=shown["left"],
        right=shown["right"],
        outcome=outcome,
    )


def _other(text: str, answer: str) -> str:
    return "" if text.strip() == answer.strip() else text.strip()
