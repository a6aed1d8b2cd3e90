"""Rounds of the arena that wait for a vote outlive the studio; what is damaged or voted on does not come back."""

import errno
import time

import pytest

from studio.errors import UserError
from studio.playground import rounds
from studio.playground.arena import Arena
from studio.playground.client import Settings
from studio.playground.rounds import RoundFolder, Said
from studio.playground.votes import Contender, VoteStore

BOTH = [Contender(choice=one, name=one, base_model="starter") for one in ("keeper", "plain")]
PROMPT = [{"role": "user", "content": "Who keeps the lamp?"}]


@pytest.fixture
def arena(workspace):
    """Makes the arena of a studio that has just started."""
    return lambda: Arena(VoteStore(workspace.votes), RoundFolder(workspace.rounds))


def opened(arena, voter="ann", wanted="ready"):
    """The id of a round whose answers are whole, unless it is `wanted` otherwise."""

    def answering(left, right):
        yield Said("It is"), Said("")
        yield Said(f"I am {left.name}", "stop"), Said(f"I am {right.name}", "length")

    round_id = arena.open(BOTH, answering, voter=voter, prompt=PROMPT, dataset="lamps", settings=Settings())
    end = time.monotonic() + 10
    while arena.look(round_id, voter)["state"] != wanted:
        assert time.monotonic() < end
        time.sleep(0.005)
    return round_id


def test_a_round_waits_for_its_vote_over_a_restart(arena, workspace):
    before = arena()
    round_id = opened(before)
    after = arena()
    assert after.look(round_id, "ann") == before.look(round_id, "ann")
    with pytest.raises(UserError, match="not known"):
        after.look(round_id, "bob")
    revealed = after.vote(round_id, "ann", "left", {"right": "The keeper does."})
    ballot = after.store.read().ballots[round_id]
    assert ballot.vote.left.answer == f"I am {revealed['left']['name']}"
    assert (ballot.vote.right.finish, ballot.text("right")) == ("length", "The keeper does.")
    assert (ballot.vote.dataset, ballot.vote.settings["max_tokens"]) == ("lamps", Settings().max_tokens)
    assert list(workspace.rounds.iterdir()) == []
    with pytest.raises(UserError, match="not known"):
        arena().look(round_id, "ann")
    with pytest.raises(UserError, match="already"):
        before.vote(round_id, "ann", "right", {})


@pytest.mark.parametrize("damage", ["{", "[]", "null", '{"id": "x"}'])
def test_a_damaged_round_is_not_known(arena, workspace, damage):
    round_id = opened(arena())
    [file] = workspace.rounds.iterdir()
    file.write_text(damage)
    with pytest.raises(UserError, match="Take the next prompt"):
        arena().look(round_id, "ann") or pytest.fail("it was read")
    with pytest.raises(UserError, match="not known"):
        arena().look("../votes", "ann")


def test_the_oldest_of_many_rounds_goes(arena, workspace, monkeypatch):
    monkeypatch.setattr(rounds, "MOST_KEPT", 3)
    stage = arena()
    ids = []
    for _ in range(4):
        ids.append(opened(stage))
        time.sleep(0.01)  # files of one moment have no order
    assert {file.stem for file in workspace.rounds.iterdir()} == set(ids[1:])


def test_a_full_disk_ends_the_round_with_a_sentence(arena, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rounds, "write_json", full)
    stage = arena()
    told = opened(stage, wanted="failed")
    assert "No space left" in stage.look(told, "ann")["error"]["message"]
    with pytest.raises(UserError, match="whole"):
        stage.vote(told, "ann", "left", {})
