"""The file of votes: it only grows, a crash costs one line at most, and nobody votes twice or for another."""

import json

import pytest

from studio.errors import UserError
from studio.playground.feedback_data import kto_rows, make_rows, preference_rows
from studio.playground.standings import TYPED, chosen, standings
from studio.playground.votes import Contender, Shown, Thumb, Vote, VoteStore, voter_name

ASKED = [{"role": "user", "content": "Who keeps the lamp?"}]


def contender(choice, name="", adapter="a" * 64):
    return Contender(choice=choice, name=name or choice, base_model="starter", adapter_sha256=adapter)


def vote(round_id, outcome, left="keeper", right="plain", *, voter="ann", dataset="", answers=("The keeper.", "Fog."),
         finish=("stop", "stop")):  # fmt: skip
    given = zip((left, right), answers, finish, strict=True)
    shown = [Shown(contender=contender(one), answer=text, finish=end) for one, text, end in given]
    settings = {"temperature": 0.7}
    return Vote(round=round_id, voter=voter, prompt=ASKED, dataset=dataset, settings=settings, left=shown[0],
                right=shown[1], outcome=outcome)  # fmt: skip


@pytest.fixture
def store(workspace):
    return VoteStore(workspace.votes)


def test_a_vote_is_one_line_with_everything_about_it(store, workspace):
    store.cast(vote("r1", "left"))
    (line,) = workspace.votes.read_text().splitlines()
    told = json.loads(line)
    assert told["prompt"] == ASKED
    assert [told[side]["answer"] for side in ("left", "right")] == ["The keeper.", "Fog."]
    assert told["left"]["contender"] == {"choice": "keeper", "name": "keeper", "base_model": "starter",
                                         "base_fingerprint": "", "adapter_sha256": "a" * 64}  # fmt: skip
    assert (told["voter"], told["outcome"], told["settings"]) == ("ann", "left", {"temperature": 0.7})
    assert told["time"].endswith("+00:00")


def test_a_torn_last_line_is_passed_over_and_does_not_spoil_the_next(store, workspace):
    store.cast(vote("r1", "left"))
    whole = workspace.votes.read_bytes()
    workspace.votes.write_bytes(whole + whole[:40])
    assert list(store.read().ballots) == ["r1"]
    assert store.read().unreadable == 0
    store.cast(vote("r2", "tie"))
    assert list(store.read().ballots) == ["r1", "r2"]
    assert store.read().unreadable == 1  # the torn one now stands in the middle, and is counted


def test_a_round_has_one_vote(store):
    store.cast(vote("r1", "left"))
    with pytest.raises(UserError, match="already"):
        store.cast(vote("r1", "right"))
    assert store.read().ballots["r1"].vote.outcome == "left"


def test_a_vote_that_is_taken_back_stays_in_the_file_and_counts_no_more(store, workspace):
    store.cast(vote("r1", "left"))
    before = workspace.votes.read_bytes()
    with pytest.raises(UserError, match="of yours"):
        store.retract("r1", "bob")
    store.retract("r1", "ann")
    assert workspace.votes.read_bytes().startswith(before)
    assert standings(list(chosen(store.read())))["votes"] == 0
    assert preference_rows(store.read()).rows == []
    for change in (lambda: store.retract("r1", "ann"), lambda: store.rewrite("r1", "ann", "left", "x"),
                   lambda: store.cast(vote("r1", "right"))):  # fmt: skip
        with pytest.raises(UserError):
            change()


def test_pairs_are_made_of_votes_for_a_side_and_the_rest_is_counted(store):
    for number, outcome in enumerate(["left", "right", "tie", "both_bad", "tie"]):
        store.cast(vote(f"r{number}", outcome))
    store.cast(vote("same", "left", answers=("Fog.", "Fog.")))
    store.cast(vote("mute", "left", answers=("Fog.", "…")))
    made = preference_rows(store.read())
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in made.rows] == [
        ("The keeper.", "Fog."),
        ("Fog.", "The keeper."),
    ]
    assert made.rows[0]["prompt"] == ASKED
    assert made.left_out == {"tie": 2, "both_bad": 1, "same": 1, "empty": 1}
    assert made.preferred == {"keeper": 1, "plain": 1}


def test_the_better_answer_is_learned_as_it_was_rewritten_and_the_original_stays(store):
    store.cast(vote("r1", "left"))
    store.rewrite("r1", "ann", "right", "Not this one.")  # the worse answer: what it was is what is rejected
    store.rewrite("r1", "ann", "left", "The keeper does.")
    made = preference_rows(store.read())
    assert [row["chosen"][0]["content"] for row in made.rows] == ["The keeper does."]
    assert [row["rejected"][0]["content"] for row in made.rows] == ["Fog."]
    assert made.rewritten == 1
    assert store.read().ballots["r1"].vote.left.answer == "The keeper."
    store.rewrite("r1", "ann", "left", "")
    assert preference_rows(store.read()).rows[0]["chosen"][0]["content"] == "The keeper."


def test_what_was_cut_is_not_learned_as_if_it_were_whole(store, workspace):
    """Unless the voter wrote another end; a worse answer may be cut."""
    for name in ("cut", "mended"):
        store.cast(vote(name, "left", finish=("length", "stop")))
    store.cast(vote("worse", "left", finish=("stop", "length")))
    store.rate_shown("cut", "ann", "left", True)
    store.rate_shown("worse", "ann", "right", False)
    store.rewrite("mended", "ann", "left", "The keeper does.")
    made = preference_rows(store.read())
    assert made.rounds == ["mended", "worse"]
    assert made.left_out == {"cut": 1}
    thumbs = kto_rows(store.read())
    assert [(row["completion"][0]["content"], row["label"]) for row in thumbs.rows] == [("Fog.", False)]
    assert thumbs.left_out == {"cut": 1}


def test_votes_from_before_the_end_of_an_answer_was_kept_are_read(store, workspace):
    store.cast(vote("r1", "left"))
    told = json.loads(workspace.votes.read_text())
    for side in ("left", "right"):
        del told[side]["finish"]
    workspace.votes.write_text(json.dumps(told) + "\n")
    assert len(preference_rows(store.read()).rows) == 1
    assert store.read().unreadable == 0


def test_a_thumb_is_for_what_the_contender_wrote(store):
    """One from before the rewriting stays with the text that it was for; afterwards it can only be taken back."""
    store.cast(vote("r1", "left"))
    store.rate_shown("r1", "ann", "left", True)
    store.rewrite("r1", "ann", "left", "The keeper does.")
    assert [row["completion"][0]["content"] for row in kto_rows(store.read()).rows] == ["The keeper."]
    with pytest.raises(UserError, match="was rewritten"):
        store.rate_shown("r1", "ann", "left", False)
    store.rate_shown("r1", "ann", "left", None)
    assert kto_rows(store.read()).rows == []
    store.rewrite("r1", "ann", "left", "")
    store.rate_shown("r1", "ann", "left", False)
    assert kto_rows(store.read()).rows[0]["label"] is False


def test_the_last_thumb_of_a_voter_counts(store):
    store.cast(vote("r1", "left"))
    store.rate_shown("r1", "ann", "left", True)
    store.rate_shown("r1", "ann", "right", True)
    store.rate_shown("r1", "ann", "right", False)
    assert [(row["completion"][0]["content"], row["label"]) for row in kto_rows(store.read()).rows] == [
        ("The keeper.", True),
        ("Fog.", False),
    ]
    assert kto_rows(store.read()).told() == {"rows": 2, "left_out": {}, "rewritten": 0, "good": 1, "bad": 1}
    store.rate_shown("r1", "ann", "right", None)
    assert len(kto_rows(store.read()).rows) == 1


def test_nothing_to_learn_from_is_said(store):
    store.cast(vote("r1", "tie"))
    for kind in ("preference", "kto"):
        with pytest.raises(UserError, match="yet"):
            make_rows(kind, store.read())
    with pytest.raises(UserError, match="no kind"):
        make_rows("../etc", store.read())


def test_the_table_counts_by_data_set_voter_and_contender(store):
    store.cast(vote("r1", "left", "a", "b"))
    store.cast(vote("r2", "right", "a", "b", dataset="lamps"))
    store.cast(vote("r3", "both_bad", "b", "a", voter="bob"))
    store.cast(vote("r4", "left", "c", "d", voter="bob"))
    table = standings(list(chosen(store.read())))
    assert [one["choice"] for one in table["contenders"]] == ["a", "b", "c", "d"]
    assert table["wins"] == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert table["both_bad"][0] == [0, 1, 0, 0]
    assert [one["group"] for one in table["contenders"]] == [0, 0, 1, 1]
    assert (table["groups"], table["left_share"]) == (2, 2 / 3)
    keys = [contender(one).key for one in ("a", "b")]
    some = ({"dataset": TYPED}, {"dataset": "lamps"}, {"voter": "bob"}, {"contenders": keys}, {"contenders": keys[:1]})
    counts = [len(list(chosen(store.read(), **one))) for one in some]
    assert counts == [3, 1, 2, 3, 0]


def test_an_adapter_that_was_trained_on_is_another_contender(store):
    store.cast(vote("r1", "left"))
    later = vote("r2", "left").model_copy(
        update={"left": Shown(contender=contender("keeper", adapter="b" * 64), answer="x")}
    )
    store.cast(later)
    names = [one["name"] for one in standings(list(chosen(store.read())))["contenders"]]
    assert len(names) == len(set(names)) == 3


def test_a_thumb_of_the_chat_names_its_answer(studio):
    from studio.playground.client import Settings
    from studio.playground.thumbs import rate_answer
    from studio.workspace import Workspace

    folder = studio.workspace.models / "smollm2-135m-instruct"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    given = {"choice": "base:starter", "name": "Base", "prompt": ASKED, "settings": Settings(), "voter": " ann "}
    for good in (True, False):
        rate_answer(studio, answer="Fog.", good=good, **given)
    rate_answer(studio, answer="The keeper.", good=True, **given)
    rate_answer(studio, answer="The keeper of", good=True, finish="stopped", **given)
    made = kto_rows(VoteStore(Workspace(studio.workspace.root).votes).read())
    assert [(row["completion"][0]["content"], row["label"]) for row in made.rows] == [
        ("Fog.", False), ("The keeper.", True)]  # fmt: skip
    assert isinstance(next(iter(VoteStore(studio.workspace.votes).read().thumbs.values())), Thumb)


@pytest.mark.parametrize("name", ["", "  ", "\x00\x1b", "x" * 41])
def test_a_voter_has_a_name(name):
    with pytest.raises(UserError):
        voter_name(name)
    assert voter_name("  Ann\x00  Lee ") == "Ann Lee"
