"""The stages of RLHF: what may follow on a job, and what the next form begins with."""

import pytest

from studio.jobs.chain import candidates, next_objectives, stage_values
from studio.jobs.events import EventWriter, Finished
from studio.jobs.preflight import check_combination
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.methods.objectives import OBJECTIVES

DATASET = {"id": "rows-1", "sha256": "0"}


def spec(objective, **changes):
    values = {"objective": {"name": objective}, "base_model": "org/model", "dataset": DATASET, **changes}
    return build_spec(values)


def test_supervised_training_is_followed_by_preferences_a_reward_model_or_rewards():
    following = next_objectives("sft", "lora")
    assert "sft" not in following
    assert {"dpo", "reward", "ppo", "rloo", "grpo"} <= set(following)


def test_a_reward_model_is_followed_by_what_it_rewards():
    assert set(next_objectives("reward", "lora")) == {name for name, one in OBJECTIVES.items() if one.rewarded}
    assert next_objectives("dpo", "lora") == ()


@pytest.mark.parametrize("objective", next_objectives("sft", "lora"))
def test_the_next_stage_keeps_what_must_be_the_same(objective):
    earlier = spec("sft", tuner={"name": "lora", "r": 5}, chat_template="plain", max_length=96)
    values = stage_values(earlier, "first-1", objective)
    assert (values["start_from"], values["base_model"], values["chat_template"]) == ("first-1", "org/model", "plain")
    assert values["objective"]["name"] == objective
    assert values["tuner"]["r"] == 5
    assert values["max_length"] == 96


def test_the_third_stage_goes_on_from_the_first_rewarded_by_the_second():
    values = stage_values(spec("reward", start_from="first-1"), "second-2", "ppo")
    assert values["start_from"] == "first-1"
    assert values["objective"]["reward_model"] == "second-2"
    check_combination(build_spec(values))


def test_only_finished_jobs_are_offered_each_where_it_fits(studio):
    ids = {}
    for name, objective in (("one", "sft"), ("two", "reward"), ("three", "sft")):
        values = read_presets()["lora"].values(DATASET)
        ids[name] = studio.store.create(build_spec({**values, "objective": {"name": objective}, "name": name}))
    for name in ("one", "two"):
        end = Finished(step=1, seconds=1, result="adapter", result_bytes=1, peak_memory_bytes=1)
        EventWriter(studio.workspace.job(ids[name]) / "events.jsonl").write(end)
        (studio.workspace.job(ids[name]) / "adapter").mkdir()
    assert [view.name for view in candidates(studio.store, "start_from")] == ["one"]
    assert [view.name for view in candidates(studio.store, "reward_model")] == ["two"]


def test_a_tuner_that_cannot_be_continued_offers_no_next_stage():
    assert next_objectives("sft", "prompt_tuning") == ()


def test_a_reward_model_takes_the_place_of_the_presets_rule():
    values = stage_values(spec("reward"), "marks", "ppo")
    assert values["objective"]["reward_model"] == "marks"
    assert values["objective"]["reward_words"] == 0
