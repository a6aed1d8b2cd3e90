"""Votes → preference pairs, thumbs → labelled answers: rows as TRL names them, and what was left out and why."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from studio.data.examples import assistant
from studio.errors import UserError
from studio.playground.votes import CUT, Ballot, Counted, Side, counting

Kind = Literal["preference", "kto"]
OBJECTIVES: dict[str, str] = {"preference": "dpo", "kto": "kto"}
NOTHING = ("", "…")  # what an answer without a word is shown as


@dataclass(frozen=True, kw_only=True)
class Made:
    """`rows` for a file; `left_out`: reason → how many; `preferred`: choice → how many chosen (good) answers it gave.

    `rounds` are those that the rows came from, in their order.
    """

    rows: list[dict[str, Any]]
    rounds: list[str]
    left_out: Counter[str]
    preferred: Counter[str]
    rewritten: int = 0

    def jsonl(self) -> bytes:
        """One row a line."""
        return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in self.rows)

    def told(self) -> dict[str, Any]:
        """The figures, for pages and scripts."""
        labels = Counter(row["label"] for row in self.rows if "label" in row)
        marks = {"good": labels[True], "bad": labels[False]} if labels else {}
        return {"rows": len(self.rows), "left_out": dict(self.left_out), "rewritten": self.rewritten, **marks}


def preference_rows(counted: Counted) -> Made:
    """{prompt, chosen, rejected} of every vote for one side; the chosen answer as the voter rewrote it, if so.

    Ties and "both bad" say nothing about which is better and are left out, as are pairs that have the same text on
    both sides or none on one, and those whose better answer is cut: nobody shall learn to end in the middle. A worse
    answer may be cut: that it ends there is no less wrong than the rest of it.
    """
    rows, rounds, left_out, preferred, rewritten = [], [], Counter[str](), Counter[str](), 0
    for ballot in counting(counted):
        outcome = ballot.vote.outcome
        if outcome not in ("left", "right"):
            left_out[outcome] += 1
            continue
        winner: Side = "left" if outcome == "left" else "right"
        chosen, rejected = _pair(ballot, winner)
        reason = _flaw(ballot, winner, chosen, rejected)
        if reason:
            left_out[reason] += 1
            continue
        rows.append({"prompt": ballot.vote.prompt, "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]})
        rounds.append(ballot.vote.round)
        preferred[ballot.vote.shown(winner).contender.choice] += 1
        rewritten += chosen != ballot.vote.shown(winner).answer
    return Made(rows=rows, rounds=rounds, left_out=left_out, preferred=preferred, rewritten=rewritten)


def kto_rows(counted: Counted) -> Made:
    """{prompt, completion, label} of every thumb that was not taken back; good answers that are cut are left out."""
    rows, rounds, left_out, preferred = [], [], Counter[str](), Counter[str]()
    for thumb in counted.thumbs.values():
        answer = thumb.shown.answer
        if thumb.good is None:
            continue
        reason = "empty" if answer.strip() in NOTHING else "cut" if thumb.good and thumb.shown.finish in CUT else ""
        if reason:
            left_out[reason] += 1
            continue
        rows.append({"prompt": thumb.prompt, "completion": [assistant(answer)], "label": thumb.good})
        rounds.append(thumb.round)
        preferred[thumb.shown.contender.choice] += thumb.good
    return Made(rows=rows, rounds=rounds, left_out=left_out, preferred=+preferred)


MAKERS: dict[str, Callable[[Counted], Made]] = {"preference": preference_rows, "kto": kto_rows}


def make_rows(kind: str, counted: Counted) -> Made:
    """The rows of one kind. Raises UserError when there is no such kind, or nothing to make it of."""
    if kind not in MAKERS:
        raise UserError(f"There is no kind {kind[:40]!r}.", f"Choose one of: {', '.join(MAKERS)}.")
    made = MAKERS[kind](counted)
    if not made.rows:
        hint = "Vote for the left or the right answer." if kind == "preference" else "Give some answers a thumb."
        raise UserError(f"No vote makes a {kind} row yet.", f"{hint} Ties and “both bad” make none.")
    return made


def _flaw(ballot: Ballot, winner: Side, chosen: str, rejected: str) -> str:
    """Why a pair cannot be learned from, empty when it can."""
    if not chosen or not rejected:
        return "empty"
    if chosen == rejected:
        return "same"
    return "cut" if ballot.vote.shown(winner).finish in CUT and not ballot.is_rewritten(winner) else ""


def _pair(ballot: Ballot, winner: Side) -> tuple[str, str]:
    """(the better answer as rewritten, the other one as it was given), empty where there is no text."""
    loser: Side = "right" if winner == "left" else "left"
    texts = ballot.text(winner), ballot.vote.shown(loser).answer
    chosen, rejected = (("" if text.strip() in NOTHING else text) for text in texts)
    return chosen, rejected
