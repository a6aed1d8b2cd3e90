"""Held-out examples and general ones: nothing lost, nothing twice, the share that was asked for, always the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.audit.contract import row_numbers
from studio.data.examples import assistant, user
from studio.data.mixing import held_out, mix, require_same_kind, split, type_of
from studio.errors import UserError

SHARES = st.floats(0.01, 0.9)
SEEDS = st.integers(0, 20)


def pair(asked: str, answer: str = "a") -> dict:
    return {"prompt": [user(asked)], "completion": [assistant(answer)]}


def pairs(count: int, name: str = "q") -> list[dict]:
    """Pairs with different prompts, the later the longer."""
    return [pair(f"{name}{i}", "a" * (1 + i)) for i in range(count)]


def texts(examples) -> list[str]:
    return [json.dumps(example) for example in examples]


PREFERENCE = {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
LABELLED = {**pair("q"), "label": True}
CONVERSATION = {"messages": [user("q"), assistant("a")]}
RAW = {"text": "t"}


@given(count=st.integers(2, 80), share=SHARES, seed=SEEDS)
def test_a_split_loses_and_repeats_nothing_and_has_its_share(count, share, seed):
    examples = pairs(count)
    train, evaluation = split(examples, share, seed)
    assert sorted(texts(train + evaluation)) == sorted(texts(examples))
    assert len(evaluation) == min(max(1, round(count * share)), count - 1)
    assert split(examples, share, seed) == (train, evaluation)
    for side in (train, evaluation):
        assert side == [example for example in examples if example in side]


@given(count=st.integers(0, 5), seed=SEEDS)
def test_nothing_is_held_out_where_nothing_is_wanted_or_possible(count, seed):
    examples = pairs(count)
    assert split(examples, 0, seed) == (examples, [])
    if count < 2:
        assert split(examples, 0.5, seed) == (examples, [])


@given(asked=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60), share=SHARES, seed=SEEDS)
def test_examples_with_the_same_prompt_stay_on_one_side(asked, share, seed):
    examples = [pair(prompt, f"answer {i}") for i, prompt in enumerate(asked)]
    train, evaluation = split(examples, share, seed)
    assert train
    assert evaluation
    assert sorted(texts(train + evaluation)) == sorted(texts(examples))
    if len(set(asked)) > 1:
        prompts = [{example["prompt"][0]["content"] for example in side} for side in (train, evaluation)]
        assert not prompts[0] & prompts[1]
        largest = max(asked.count(prompt) for prompt in asked)
        assert len(evaluation) <= max(round(len(asked) * share), largest, 1)


def test_short_and_long_examples_are_held_out_alike():
    _, evaluation = split(pairs(1000), 0.1, 3)
    lengths = [len(example["completion"][0]["content"]) for example in evaluation]
    assert len(lengths) == 100
    for decile in range(10):
        assert sum(decile * 100 < length <= decile * 100 + 100 for length in lengths) == 10


def test_another_seed_holds_out_others_and_dropping_rows_hardly_changes_which():
    examples = pairs(500)
    first, second = (set(texts(split(examples, 0.1, seed)[1])) for seed in (0, 1))
    assert len(first & second) < 25
    fewer = [example for i, example in enumerate(examples) if i % 50]
    again = set(texts(split(fewer, 0.1, 0)[1]))
    assert len(again & first) > 0.6 * len(again)


def test_a_conversation_or_a_text_is_held_out_by_itself():
    examples = [{"text": f"text {i}"} for i in range(10)] + [{"text": "text 3"}] * 3
    assert len(held_out(examples, 0.2, 0)) == 3
    train, evaluation = split(examples, 0.2, 0)
    assert not set(texts(train)) & set(texts(evaluation))


@given(ours=st.integers(0, 60), theirs=st.integers(0, 60), share=st.floats(0, 0.95), seed=SEEDS)
def test_a_mixture_has_every_example_of_ours_and_its_share_of_theirs(ours, theirs, share, seed):
    train, general = pairs(ours, "ours"), pairs(theirs, "theirs")
    mixed = mix(train, general, share, seed)
    taken = [general[row - 1] for row in row_numbers(mixed.general_rows)]
    assert sorted(texts(mixed.examples)) == sorted(texts(train + taken))
    assert len(set(texts(taken))) == len(taken) == mixed.taken == min(mixed.wanted, theirs)
    assert mixed.wanted == round(ours * share / (1 - share))
    assert mix(train, general, share, seed) == mixed
    assert bool(mixed.shortage) == (mixed.wanted > theirs)
    if ours and not mixed.shortage:
        assert abs(mixed.share - share) <= 0.5 / (ours + mixed.taken) * (1 + share)


def test_a_tenth_of_general_examples_is_spread_over_the_whole_set():
    mixed = mix(pairs(900, "ours"), pairs(500, "theirs"), 0.1, 1)
    theirs = ["theirs" in text for text in texts(mixed.examples)]
    assert (sum(theirs), len(theirs), mixed.share) == (100, 1000, 0.1)
    assert all(sum(theirs[start : start + 250]) > 10 for start in range(0, 1000, 250))
    assert mixed.examples != mix(pairs(900, "ours"), pairs(500, "theirs"), 0.1, 2).examples


def test_too_few_general_examples_are_not_repeated_and_it_is_said():
    mixed = mix(pairs(90, "ours"), pairs(4, "theirs"), 0.1, 1)
    assert (mixed.taken, mixed.wanted, mixed.general_rows) == (4, 10, "1-4")
    assert "only 4 examples, 10 were wanted" in mixed.shortage
    assert "4.3%" in mixed.shortage


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(PREFERENCE, pair("q")), (LABELLED, PREFERENCE), (RAW, LABELLED), (CONVERSATION, PREFERENCE)],
)
def test_what_cannot_be_learned_together_is_refused(ours, theirs):
    with pytest.raises(UserError, match="does not go with"):
        mix([ours], [theirs], 0.5, 0)
    with pytest.raises(UserError, match="does not go with"):
        require_same_kind([theirs], [ours])


@pytest.mark.parametrize(
    ("ours", "theirs"), [(PREFERENCE, PREFERENCE), (RAW, CONVERSATION), (CONVERSATION, pair("q")), (LABELLED, LABELLED)]
)
def test_what_is_learned_alike_may_be_mixed(ours, theirs):
    assert mix([ours], [theirs], 0.5, 0).taken == 1


@pytest.mark.parametrize("share", [-0.1, 1, 2])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(UserError, match="not possible"):
        mix(pairs(3), pairs(3), share, 0)


@pytest.mark.parametrize(
    ("example", "dataset_type"),
    [
        (PREFERENCE, "preference"),
        (LABELLED, "unpaired_preference"),
        (pair("q"), "prompt_completion"),
        (CONVERSATION, "language_modeling"),
        (RAW, "language_modeling"),
    ],
)
def test_an_example_tells_its_type(example, dataset_type):
    assert type_of(example) == dataset_type
