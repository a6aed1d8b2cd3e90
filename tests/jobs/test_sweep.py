"""A sweep: a grid becomes jobs that are alike but for what is tried, and the best of them is marked."""

import pytest

from studio import workspace as names
from studio.errors import UserError
from studio.jobs import sweep
from studio.jobs.events import EventWriter, Finished, Metrics, Started
from studio.jobs.presets import preset_spec
from studio.jobs.sweep import parse_grid, plan_sweep, start_sweep, sweep_of, trials
from studio.workspace import read_json
from tests.conftest import tiny_spec

DATASET = {"id": "rows-1", "sha256": "0"}
LORA = preset_spec("lora", DATASET, {"name": "keeper"})


@pytest.mark.parametrize(
    ("texts", "grid"),
    [
        (["tuner.r=4,8,16"], {"tuner.r": [4, 8, 16]}),
        (["r=4, 8", "learning_rate=1e-4,3e-4"], {"r": [4, 8], "learning_rate": [1e-4, 3e-4]}),
        (["target_modules=q_v,all-linear"], {"target_modules": ["q_v", "all-linear"]}),
        (["use_dora=true,false,true"], {"use_dora": [True, False]}),
    ],
)
def test_a_grid_is_read_as_it_looks(texts, grid):
    assert parse_grid(texts) == grid


@pytest.mark.parametrize("texts", [["r"], ["r="], ["=4"], ["r=,"], ["r=4", "r=8"]])
def test_a_grid_of_another_form_is_told(texts):
    with pytest.raises(UserError) as caught:
        parse_grid(texts)
    assert caught.value.hint


def test_every_combination_is_a_job_and_alpha_grows_with_the_rank():
    planned = plan_sweep(LORA, {"tuner.r": [4, 16], "learning_rate": [1e-4, 2e-4]})
    assert [(spec.tuner.r, spec.tuner.lora_alpha, spec.learning_rate) for _, spec in planned] == [
        (4, 8, 1e-4), (4, 8, 2e-4), (16, 32, 1e-4), (16, 32, 2e-4),
    ]  # fmt: skip
    assert [spec.name for _, spec in planned][0] == "r 4, learning_rate 0.0001 · keeper"
    same = LORA.model_dump(exclude={"name", "tuner", "learning_rate"})
    assert all(spec.model_dump(exclude={"name", "tuner", "learning_rate"}) == same for _, spec in planned)


def test_alpha_that_is_tried_itself_stays():
    planned = plan_sweep(LORA, {"r": [4, 8], "lora_alpha": [16]})
    assert [spec.tuner.lora_alpha for _, spec in planned] == [16, 16]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "at least two"),
        ({"tuner.r": [8]}, "at least two"),
        ({"tuner.r": list(range(1, 66))}, "at most 64"),
        ({"tuner.r": [8, 0]}, "Rank"),
        ({"nonsense": [1, 2]}, "no option"),
        ({"learning_rate": ["a", "b"]}, "Learning rate"),
    ],
)
def test_a_sweep_that_cannot_be_is_told(grid, words):
    with pytest.raises(UserError, match=words):
        plan_sweep(LORA, grid)


@pytest.fixture
def swept(studio, instructions, tiny_model):
    """A sweep of three ranks that waits: (its id, its jobs)."""
    return start_sweep(studio, tiny_spec("lora", instructions, tiny_model), {"tuner.r": [16, 4, 8]})


def test_the_jobs_wait_in_line_and_share_a_note(studio, swept):
    sweep_id, jobs = swept
    assert studio.catalog.waiting() == jobs
    assert len(jobs) == 3
    notes = [sweep_of(studio, job) for job in jobs]
    assert {note.id for note in notes} == {sweep_id}
    assert [note.values for note in notes] == [{"tuner.r": 16}, {"tuner.r": 4}, {"tuner.r": 8}]
    assert read_json(studio.workspace.job(jobs[0]) / names.SWEEP) == {"id": sweep_id, "values": {"tuner.r": 16}}


def test_one_bad_job_means_none(studio, instructions, tiny_model):
    with pytest.raises(UserError, match="at most 512"):
        start_sweep(studio, tiny_spec("lora", instructions, tiny_model), {"max_length": [64, 4096]})
    assert studio.store.ids() == []
    assert studio.catalog.waiting() == []


def finish(studio, job, losses, *, trained, measured=None):
    """Write what a worker would have said: a loss a step, and more that was measured, {metric: values}."""
    events = EventWriter(studio.workspace.job(job) / names.EVENTS)
    events.write(
        Started(
            max_steps=4, trainable_parameters=trained, parameters=100_000, train_examples=20, eval_examples=4,
            device="cpu", dtype="float32",
        )
    )  # fmt: skip
    for step, loss in enumerate(losses, 1):
        events.write(Metrics(step=step, epoch=1.0, elapsed=1.0, values={"loss": loss + 1}))
        events.write(Metrics(step=step, epoch=1.0, elapsed=1.0, values={"eval_loss": loss}))
    for name, values in (measured or {}).items():
        for step, value in enumerate(values, 1):
            events.write(Metrics(step=step, epoch=1.0, elapsed=1.0, values={name: value}))
    studio.catalog.dequeue(job)
    events.write(
        Finished(step=len(losses), seconds=12.5, result="adapter", result_bytes=trained * 4, peak_memory_bytes=1)
    )


def test_the_lowest_evaluation_loss_is_the_best_once_there_are_any(studio, swept):
    sweep_id, jobs = swept
    assert not any(trial.best for trial in trials(studio, sweep_id))
    finish(studio, jobs[0], [3.0, 2.5, 2.9], trained=1600)
    finish(studio, jobs[1], [3.0, 2.8], trained=400)
    found = trials(studio, sweep_id)
    assert [trial.values["tuner.r"] for trial in found] == [4, 8, 16], "in the order of the values"
    four, eight, sixteen = found
    assert sixteen.best
    assert not four.best
    assert (sixteen.metric, sixteen.higher_is_better) == ("eval_loss", False)
    assert (sixteen.score, sixteen.eval_loss, sixteen.loss) == (2.5, 2.9, 3.9)
    assert (sixteen.trainable_parameters, sixteen.seconds, sixteen.result_bytes) == (1600, 12.5, 6400)
    assert sixteen.points == [(1, 3.0), (2, 2.5), (3, 2.9)]
    assert (eight.status, eight.score, eight.points) == ("queued", None, [])


def test_of_two_that_are_as_good_the_smaller_is_better(studio, swept):
    sweep_id, jobs = swept
    for job, trained in zip(jobs, (1600, 400, 800), strict=True):
        finish(studio, job, [2.0], trained=trained)
    [best] = [trial for trial in trials(studio, sweep_id) if trial.best]
    assert best.values == {"tuner.r": 4}


def judged(studio, spec, grid, measured):
    """(metric, scores, values of the best) of a sweep whose jobs measured this, one entry a job."""
    sweep_id, jobs = start_sweep(studio, spec, grid)
    for job, (losses, more) in zip(jobs, measured, strict=True):
        finish(studio, job, losses, trained=100, measured=more)
    found = trials(studio, sweep_id)
    [best] = [trial.values for trial in found if trial.best]
    return found[0].metric, [trial.score for trial in found], best


def test_rewarded_jobs_are_compared_by_their_reward(studio, instructions, tiny_model):
    spec = tiny_spec("grpo", instructions, tiny_model)
    measured = [([0.1], {"eval_reward": [0.2, 0.4]}), ([0.9], {"eval_reward": [0.7, 0.6]})]
    assert judged(studio, spec, {"objective.beta": [0.0, 0.1]}, measured) == (
        "eval_reward", [0.4, 0.7], {"objective.beta": 0.1},
    )  # fmt: skip
    alone = tiny_spec("ppo", instructions, tiny_model, eval_share=0)
    rewards = [0.0, 0.5, 0.5, 0.5, 0.5, 0.5]  # one good batch at the end is not a good job
    measured = [([0.1] * 6, {"reward": rewards}), ([0.1] * 6, {"reward": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]})]
    assert judged(studio, alone, {"learning_rate": [1e-5, 1e-4]}, measured) == (
        "reward", [0.5, 0.2], {"learning_rate": 1e-5},
    )  # fmt: skip


def test_reward_models_are_compared_by_the_pairs_that_they_rank_right(studio, preferences, tiny_model):
    spec = tiny_spec("reward_model", preferences, tiny_model)
    measured = [([0.3], {"eval_accuracy": [0.6]}), ([0.5], {"eval_accuracy": [0.9]})]
    assert judged(studio, spec, {"r": [4, 8]}, measured) == ("eval_accuracy", [0.6, 0.9], {"r": 8})


def test_a_loss_that_beta_scales_does_not_compare_betas(studio, preferences, tiny_model):
    spec = tiny_spec("dpo", preferences, tiny_model)
    measured = [([0.1], {"eval_rewards/accuracies": [0.5]}), ([0.6], {"eval_rewards/accuracies": [0.8]})]
    assert judged(studio, spec, {"objective.beta": [0.1, 0.5]}, measured)[::2] == (
        "eval_rewards/accuracies", {"objective.beta": 0.5},
    )  # fmt: skip
    assert judged(studio, spec, {"r": [4, 8]}, measured)[::2] == ("eval_loss", {"r": 4})


def test_until_a_job_has_ended_the_evaluation_is_waited_for(studio, swept):
    sweep_id, jobs = swept
    events = EventWriter(studio.workspace.job(jobs[0]) / names.EVENTS)
    events.write(Metrics(step=1, epoch=1.0, elapsed=1.0, values={"loss": 3.0}))
    assert {trial.metric for trial in trials(studio, sweep_id)} == {"eval_loss"}


def test_a_deleted_job_leaves_the_others_and_no_job_is_told(studio, swept):
    sweep_id, jobs = swept
    studio.store.delete(jobs[1])
    assert len(trials(studio, sweep_id)) == 2
    with pytest.raises(UserError, match="no sweep"):
        trials(studio, "sweep-none")
    assert sweep.MOST_JOBS == 64


def test_methods_are_compared_each_with_its_own_options():
    planned = plan_sweep(LORA, {"tuner.name": ["lora", "ia3"]})
    assert [one.tuner.name for _, one in planned] == ["lora", "ia3"]
    assert planned[0][1].tuner == LORA.tuner
