"""What the Arena tab asks and does: contenders, rounds, votes, the table. No Gradio in here."""

import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request

from studio.data.audit.reading import digest_of
from studio.data.dataset import read_record
from studio.data.examples import Message, system, user
from studio.data.snapshots import read_current
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.arena import Answers, Arena
from studio.playground.client import chat_target
from studio.playground.contenders import base_name, base_title, choose
from studio.playground.held_out import HeldOut, held_out_prompts, least_shown, parts_of
from studio.playground.rounds import RoundFolder, Said
from studio.playground.standings import chosen, standings
from studio.playground.votes import SIDES, Ballot, Contender, VoteStore, voter_name
from studio.ui.arena_requests import RoundWish, VoteWish
from studio.ui.i18n import language_of, words
from studio.ui.panes import Pane, as_text, converse, text_of
from studio.ui.tabs.playground import speakers

KEPT = 32  # lists of held-out prompts that are remembered
LATEST = 30  # votes that the page lists


class ArenaRoom:
    """One a studio; safe to share between threads. Every id comes from a browser and is looked up, never trusted."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.store = VoteStore(studio.workspace.votes)
        self.arena = Arena(self.store, RoundFolder(studio.workspace.rounds))
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, str], Counter[int]] = {}
        self._held_out: dict[tuple[Any, ...], HeldOut] = {}

    def menus(self, request: Request) -> dict[str, Any]:
        """Who can answer, each with its base model, and the data sets whose prompts may be asked."""
        contenders = []
        for choice, name in self._known(request).items():
            base = base_name(self.studio, choice, chat_target(self.studio.store, self.studio.workspace, choice))
            contenders.append({"choice": choice, "name": name, "base_model": base_title(base)})
        datasets = [
            {"id": record.id, "name": record.name, "rows": record.rows}
            for record in self.studio.datasets()
            if record.format != "text"
        ]
        return {"contenders": contenders, "datasets": datasets}

    def prompts(self, request: Request, dataset_id: str, choices: list[str]) -> dict[str, Any]:
        """{held_out, of, unknown}: how many prompts of a data set no contender was trained on. Raises UserError."""
        found = self._prompts_of(dataset_id, choose(self.studio, choices, self._known(request)))
        return {"held_out": len(found.prompts), "of": found.of, "unknown": found.unknown}

    def open(self, request: Request, wish: RoundWish) -> dict[str, Any]:
        """Begin a round; what is told does not say who answers. Raises UserError."""
        wish.check()
        contenders = choose(self.studio, wish.contenders, self._known(request))
        voter = voter_name(wish.voter)
        prompt = self._draw(voter, wish.dataset, contenders) if wish.dataset else [user(wish.prompt.strip())]
        if wish.system.strip() and prompt[0]["role"] != "system":
            prompt = [system(wish.system.strip()), *prompt]
        round_id = self.arena.open(
            contenders,
            lambda left, right: self._answer((left, right), prompt, wish),
            voter=voter,
            prompt=[dict(message) for message in prompt],
            dataset=wish.dataset,
            settings=wish.settings(),
        )
        return self.arena.look(round_id, voter)

    def look(self, round_id: str, voter: str) -> dict[str, Any]:
        """A round as its voter may see it, after the vote with what was made of it. Raises UserError."""
        told = self.arena.look(round_id, voter_name(voter))
        ballot = self.store.read().ballots.get(round_id)
        return told | ({"ballot": told_ballot(ballot)} if ballot is not None else {})

    def vote(self, round_id: str, wish: VoteWish) -> dict[str, Any]:
        """Keep a vote; who was who. Raises UserError."""
        return {"revealed": self.arena.vote(round_id, voter_name(wish.voter), wish.outcome, wish.rewritten)}

    def table(self, request: Request, dataset: str, voter: str, contenders: list[str]) -> dict[str, Any]:
        """The standings of the votes that a filter lets through, the latest of them, and what can be filtered by."""
        counted = self.store.read()
        ballots = list(chosen(counted, dataset=dataset, voter=voter, contenders=contenders))
        alive = [ballot for ballot in counted.ballots.values() if not ballot.retracted]
        people = {
            one.key: one.name for ballot in alive for one in (ballot.vote.left.contender, ballot.vote.right.contender)
        }
        return {
            **standings(ballots),
            "retracted": len(counted.ballots) - len(alive),
            "unreadable": counted.unreadable,
            "latest": [told_ballot(ballot) for ballot in reversed(ballots[-LATEST:])],
            "filters": {
                "datasets": [{"id": one, "name": self._dataset_name(one, request)} for one in _used(alive)],
                "voters": list(dict.fromkeys(ballot.vote.voter for ballot in alive)),
                "contenders": [{"key": key, "name": name} for key, name in people.items()],
            },
        }

    def _known(self, request: Any) -> dict[str, str]:
        """choice → label of everything that can answer now."""
        return {choice: label for label, choice in speakers(self.studio, request)}

    def _dataset_name(self, dataset_id: str, request: Request) -> str:
        if not dataset_id:
            return words(language_of(request.headers))["arena_typed"]
        known = {record.id: record.name for record in self.studio.datasets()}
        return known.get(dataset_id, dataset_id)

    def _draw(self, voter: str, dataset_id: str, contenders: list[Contender]) -> list[Message]:
        """One of the prompts that this voter was shown least often."""
        found = self._prompts_of(dataset_id, contenders)
        if not found.prompts:
            name = read_record(self.studio.workspace.dataset(dataset_id)).name
            raise UserError(
                f"Every prompt of {name} was learned by one of the contenders.",
                "Choose another data set, or type prompts.",
            )
        with self._lock:
            shown = self._shown.setdefault((voter, dataset_id), Counter())
            prompt = secrets.choice(least_shown(found.prompts, shown))
            shown[digest_of(prompt)] += 1
        return prompt

    def _prompts_of(self, dataset_id: str, contenders: list[Contender]) -> HeldOut:
        current = read_current(self.studio.workspace.dataset(dataset_id))
        key = dataset_id, current["sha256"], *sorted(one.key for one in contenders)
        found = self._held_out.get(key)
        if found is None:
            found = held_out_prompts(self.studio, dataset_id, contenders)
            with self._lock:
                self._held_out[key] = found
                while len(self._held_out) > KEPT:
                    self._held_out.pop(next(iter(self._held_out)))
        return found

    def _answer(self, pair: tuple[Contender, Contender], prompt: list[Message], wish: RoundWish) -> Answers:
        said, before, question = parts_of(prompt)
        history = [{"role": turn["role"], "content": as_text(turn["content"])} for turn in before]
        panes = [
            Pane(self.studio, one.choice, history, question, system=said, settings=wish.settings(), loading="")
            for one in pair
        ]
        return _texts(panes)


def _texts(panes: list[Pane]) -> Iterator[tuple[Said, Said]]:
    """The two answers as they grow, as the models wrote them."""
    for shown in converse(panes):
        left, right = (
            Said(text_of(turns[-1]), (pane.last.finish or "") if pane.last else "")
            for pane, turns in zip(panes, shown, strict=True)
        )
        yield left, right


def _used(ballots: list[Ballot]) -> list[str]:
    return list(dict.fromkeys(ballot.vote.dataset for ballot in ballots))


def told_ballot(ballot: Ballot) -> dict[str, Any]:
    """A vote for the page's list."""
    vote = ballot.vote
    return {
        "round": vote.round,
        "voter": vote.voter,
        "time": vote.time,
        "asked": vote.prompt[-1]["content"],
        "outcome": vote.outcome,
        "left": vote.left.contender.name,
        "right": vote.right.contender.name,
        "retracted": ballot.retracted,
        "rewritten": [side for side in SIDES if ballot.is_rewritten(side)],
    }
