"""`studio votes …`"""

from pathlib import Path
from typing import Annotated

import typer

from studio.cli.output import AsJson, show, table
from studio.errors import UserError
from studio.playground.feedback_data import make_rows
from studio.playground.standings import standings
from studio.playground.votes import Ballot, VoteStore, counting
from studio.settings import read_settings
from studio.workspace import Workspace

ASKED_CHARACTERS = 60
app = typer.Typer(no_args_is_help=True, help="Votes of the Arena: list them, make data of them.")


@app.callback()
def group() -> None:
    """Votes of the Arena: list them, make data of them."""


@app.command("list")
def list_votes(as_json: AsJson = False) -> None:
    """The ranking of the contenders, and every vote that was not taken back."""
    counted = _store().read()
    ballots = list(counting(counted))
    ranking = standings(ballots)
    told = {
        "votes": [{**ballot.vote.model_dump(), "rewritten": dict(ballot.rewritten)} for ballot in ballots],
        "ranking": ranking["contenders"],
        "retracted": len(counted.ballots) - len(ballots),
        "unreadable": counted.unreadable,
    }
    show(told, as_json, lambda: _words(ballots, ranking["contenders"], counted.unreadable))


@app.command()
def export(
    output: Annotated[Path, typer.Option(help="The JSON Lines file to write.")],
    kind: Annotated[str, typer.Option(help="preference (pairs, for DPO) or kto (thumbs).")] = "preference",
    as_json: AsJson = False,
) -> None:
    """Write the votes as rows to learn from: prompt, chosen and rejected; or prompt, completion and label."""
    made = make_rows(kind, _store().read())
    try:
        output.write_bytes(made.jsonl())
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.", "Choose another path.") from None
    told = {"kind": kind, "output": str(output), **made.told()}
    left = ", ".join(f"{number} {reason}" for reason, number in made.left_out.items())
    show(told, as_json, lambda: f"{output}: {len(made.rows)} rows" + (f"; left out: {left}" if left else ""))


def _store() -> VoteStore:
    return VoteStore(Workspace(read_settings().workspace).prepare().votes)


def _words(ballots: list[Ballot], ranking: list[dict[str, object]], unreadable: int) -> str:
    if not ballots:
        return "There are no votes yet: cast some in the page's Arena tab."
    rows = [
        {
            "time": ballot.vote.time[:19],
            "voter": ballot.vote.voter,
            "left": ballot.vote.left.contender.name,
            "right": ballot.vote.right.contender.name,
            "vote": ballot.vote.outcome,
            "prompt": str(ballot.vote.prompt[-1]["content"])[:ASKED_CHARACTERS],
        }
        for ballot in ballots
    ]
    lines = [table(ranking, ("name", "group", "points", "low", "high", "wins", "losses", "ties", "both_bad")), ""]
    lines.append(table(rows, ("time", "voter", "left", "right", "vote", "prompt")))
    return "\n".join([*lines, *([f"{unreadable} lines could not be read."] if unreadable else [])])
