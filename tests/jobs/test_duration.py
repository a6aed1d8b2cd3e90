"""How long a job will take: by finished jobs of the same kind, or by the card."""

from types import SimpleNamespace

import pytest

from studio.jobs.duration import duration
from studio.jobs.events import Metrics, Started
from studio.jobs.presets import PLACEHOLDER_DATASET
from studio.jobs.spec import build_spec
from studio.jobs.state import JobState


def spec(**changes):
    return build_spec({"dataset": PLACEHOLDER_DATASET, "per_device_train_batch_size": 2, **changes})


def finished(of, pace, speed, status="completed"):
    """A job that took `pace` seconds a step at `speed` tokens a second."""
    state = JobState()
    counts = {"trainable_parameters": 1, "parameters": 2, "train_examples": 6, "eval_examples": 0}
    state.add(Started(max_steps=3, resumed_from=0, device="cpu", dtype="float32", **counts))
    for step in range(1, 4):
        values = {"loss": 1.0, "tokens_per_second": speed}
        state.add(Metrics(step=step, epoch=1.0, elapsed=10 + pace * step, values=values))
    return SimpleNamespace(spec=of, state=state, status=status)


def test_jobs_that_did_the_same_tell_their_seconds_a_step():
    jobs = [finished(spec(), pace, 50.0) for pace in (1.0, 2.0, 9.0)]
    found = duration(spec(num_train_epochs=5), 100, jobs)
    assert (found.seconds, found.jobs, found.tokens) == (200.0, 3, None)


def test_jobs_of_the_same_kind_tell_their_tokens_a_second():
    other = spec(per_device_train_batch_size=4)
    found = duration(spec(gradient_accumulation_steps=1), 10, [finished(other, 1.0, 50.0)], tokens_per_example=100)
    assert found.seconds == pytest.approx(10 * 2 * 100 / 50)
    assert duration(spec(gradient_accumulation_steps=1), 10, [finished(other, 1.0, 50.0)]) is None


def test_other_models_methods_and_unfinished_jobs_tell_nothing():
    for job in (
        finished(spec(base_model="another"), 1.0, 50.0),
        finished(spec(tuner={"name": "ia3"}), 1.0, 50.0),
        finished(spec(), 1.0, 50.0, status="failed"),
    ):
        assert duration(spec(), 10, [job], tokens_per_example=100) is None


def test_a_card_tells_by_its_arithmetic_and_at_most_where_lengths_are_not_known():
    plain = spec(gradient_accumulation_steps=1, max_length=500)
    known = duration(plain, 10, [], tokens_per_example=100, card_speed=1000.0)
    assert (known.seconds, known.at_most, known.jobs) == (2.0, False, 0)
    unknown = duration(plain, 10, [], card_speed=1000.0)
    assert (unknown.seconds, unknown.at_most) == (10.0, True)


def test_who_writes_answers_first_is_not_guessed():
    grpo = spec(objective={"name": "grpo", "reward_json": True}, per_device_train_batch_size=8)
    assert duration(grpo, 10, [], tokens_per_example=100, card_speed=1000.0) is None
    assert duration(grpo, 10, [finished(grpo, 3.0, 50.0)]).seconds == 30.0
