"""Rules that give answers marks, and the prompts that answers are written to."""

import pytest
from pydantic import ValidationError

from studio.data.chat_template import IGNORED, Sequence
from studio.errors import UserError
from studio.jobs.spec import build_spec
from studio.methods.objectives.grpo import GRPOOptions
from studio.methods.rewards import Answer, Contains, Format, Json, Length, answer_of, check_reward, prompts


def test_length_gives_full_marks_at_the_words_asked_for_and_none_at_twice_as_many():
    rule = Length(words=4)
    assert [rule.score("word " * count, "") for count in (0, 2, 4, 6, 8, 20)] == [0, 0.5, 1, 0.5, 0, 0]


def test_phrases_count_by_their_share_in_any_case():
    rule = Contains(phrases=("Lamp", "sea fog"))
    assert rule.score("The lamp is lit", "") == 0.5
    assert rule.score("SEA FOG around the LAMP", "") == 1
    assert rule.score("", "") == 0


def test_a_form_must_fit_the_whole_answer():
    rule = Format(pattern=r"<think>.+</think>\s*\d+")
    assert rule.score("<think>two\nand two</think>\n4", "") == 1
    assert rule.score("so: <think>x</think> 4", "") == 0


@pytest.mark.parametrize(
    ("how", "written", "wanted", "score"),
    [
        ("equals", " Four ", "four", 1),
        ("equals", "four tea", "four", 0),
        ("contains", "it is Four.", "four", 1),
        ("contains", "five", "four", 0),
        ("number", "first 2, so 1,024.", "#### 1024", 1),
        ("number", "1024 or 7", "1024", 0),
        ("number", "none at all", "1024", 0),
        ("number", "-0.5", "-.5 is -0.5", 1),
        ("equals", "", "", 0),  # the data has no answer: nothing can be right
    ],
)
def test_an_answer_is_right_when_it_says_what_the_data_says(how, written, wanted, score):
    assert Answer(how=how).score(written, wanted) == score


def test_json_may_stand_in_one_code_block():
    assert [Json().score(text, "") for text in ('{"a": 1}', '```json\n[1]\n```', "{'a': 1}", "", "[" * 5000)] == [
        1, 1, 0, 0, 0,
    ]  # fmt: skip


def test_options_switch_rules_on_and_several_may_be():
    options = GRPOOptions(reward_words=8, reward_contains="lamp, , fog", reward_json=True, reward_answer="number")
    assert [rule.name for rule in options.rules()] == ["length", "contains", "answer", "json"]
    assert next(rule for rule in options.rules() if rule.name == "contains").phrases == ("lamp", "fog")
    assert not any(name.startswith("reward_") for name in options.library_options())


def test_a_bad_pattern_is_refused_when_it_is_set():
    with pytest.raises(ValidationError, match="not a regular expression"):
        GRPOOptions(reward_format="(")


def test_a_job_without_any_reward_is_refused():
    spec = {"dataset": {"id": "a", "sha256": ""}, "objective": {"name": "ppo"}}
    with pytest.raises(UserError, match="Nothing is rewarded"):
        check_reward(build_spec(spec))
    check_reward(build_spec({**spec, "objective": {"name": "ppo", "reward_words": 5}}))


def test_the_prompt_is_all_before_the_last_answer():
    conversation = Sequence([1, 2, 3, 4, 5, 6, 7], [IGNORED, IGNORED, 3, IGNORED, IGNORED, 6, 7])
    assert prompts([conversation], 9) == [{"prompt": [1, 2, 3, 4, 5]}]
    assert prompts([conversation], 4) == []
    assert prompts([Sequence([1, 2], [1, 2])], 9) == []  # raw text has no prompt


def test_the_datas_own_answer_is_kept_for_the_rules():
    said = [{"role": "user", "content": "2 + 2"}, {"role": "assistant", "content": "4"}]
    pair = {"prompt": said[:1], "chosen": said[1:], "rejected": [{"role": "assistant", "content": "5"}]}
    for example in ({"messages": said}, {"prompt": said[:1], "completion": said[1:]}, pair):
        assert answer_of(example) == {"answer": "4"}
    assert answer_of({"text": "no answer"}) == {"answer": ""}
