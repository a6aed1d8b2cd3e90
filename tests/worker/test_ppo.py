"""PPO: its arithmetic against cases done by hand, and a toy reward that rises while the KL penalty holds."""

import math

import pytest
import torch
from safetensors.torch import load_file

from studio import workspace as names
from studio.errors import UserError
from studio.methods import ppo_math
from studio.methods.ppo_trainer import VALUE_HEAD
from tests.worker.conftest import train_in, values_of

pytestmark = pytest.mark.slow


def test_advantages_are_those_of_a_case_done_by_hand():
    """One answer of three tokens and one of two: δ = r + γV' − V, A = δ + γλA'."""
    rewards = torch.tensor([[0.0, 0.0, 1.0], [-0.5, 2.0, 9.0]])
    values = torch.tensor([[0.5, 0.25, 0.5], [1.0, 0.5, 7.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    found, returns = ppo_math.advantages_and_returns(rewards, values, mask, gamma=0.5, lam=0.5)
    # first: δ = (0 + .125 − .5, 0 + .25 − .25, 1 − .5) = (−.375, 0, .5); A = (−.375 + .25·.125, .125, .5)
    # second: δ = (−.5 + .25 − 1, 2 − .5) = (−1.25, 1.5); A = (−1.25 + .25·1.5, 1.5); after its end nothing counts
    assert torch.allclose(found, torch.tensor([[-0.34375, 0.125, 0.5], [-0.875, 1.5, 0.0]]))
    assert torch.allclose(returns, torch.tensor([[0.15625, 0.375, 1.0], [0.125, 2.0, 0.0]]))


def test_with_lambda_one_the_return_is_the_sum_of_what_comes():
    rewards, mask = torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3)
    _, returns = ppo_math.advantages_and_returns(rewards, torch.rand(1, 3), mask, gamma=1.0, lam=1.0)
    assert torch.allclose(returns, torch.tensor([[7.0, 6.0, 4.0]]))


def test_the_score_comes_at_the_last_token_and_the_distance_at_each():
    log_probs, reference = torch.tensor([[-1.0, -2.0, -3.0]] * 2), torch.tensor([[-2.0, -2.0, -1.0]] * 2)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    found = ppo_math.token_rewards(torch.tensor([5.0, 7.0]), log_probs, reference, mask, kl_coef=0.1)
    assert torch.allclose(found, torch.tensor([[-0.1, 0.0, 5.2], [-0.1, 7.0, 0.0]]))


def test_a_ratio_beyond_the_clip_range_gives_no_gradient_in_its_favour():
    old = torch.zeros(1, 4)
    ratios = torch.tensor([[1.5, 0.5, 1.5, 1.1]])
    new = ratios.log().requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    loss, clipped = ppo_math.policy_loss(new, old, advantages, torch.ones(1, 4), cliprange=0.2)
    assert float(loss.detach()) == pytest.approx((-1.2 + 0.8 + 1.5 - 1.1) / 4, abs=1e-6)
    assert float(clipped) == 0.5
    loss.backward()
    assert [round(value, 3) for value in new.grad[0].tolist()] == [0, 0, 0.375, -0.275]


def test_a_value_gains_nothing_by_moving_beyond_its_clip_range():
    old, returns, mask = torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2)
    values = torch.tensor([[0.1, 0.9]], requires_grad=True)
    loss = ppo_math.value_loss(values, old, returns, mask, cliprange=0.2)
    assert float(loss.detach()) == pytest.approx(0.5 * (0.9**2 + 0.8**2) / 2)
    loss.backward()
    assert values.grad[0, 1] == 0
    assert values.grad[0, 0] < 0


def test_whitening_counts_only_what_the_mask_shows():
    values, mask = torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[1, 1, 0]])
    assert torch.allclose(ppo_math.whiten(values, mask), torch.tensor([[-1.0, 1.0, 0.0]]), atol=1e-4)
    assert torch.allclose(ppo_math.whiten(values, mask, shift_mean=False), torch.tensor([[1.0, 3.0, 0.0]]), atol=1e-4)


def spec_of(lab, **changes):
    options = {"name": "ppo", "reward_contains": "e", "max_completion_length": 6, **changes.pop("options", {})}
    same = {"dtype": "float32", "eval_share": 0.0, "lr_scheduler_type": "constant", "warmup_steps": 0}
    return lab.spec("lora", dataset=lab.instructions, objective=options, **{**same, **changes})


def test_the_first_look_at_new_answers_finds_the_policy_that_wrote_them(lab):
    """Nothing has moved yet: the ratio is 1, nothing is clipped, and the distance to the start is 0."""
    folder = lab.train(spec_of(lab, max_steps=1))
    assert values_of(folder, "kl") == [pytest.approx(0, abs=1e-4)]
    assert values_of(folder, "clip_ratio") == [0]
    assert values_of(folder, "policy_loss") == [pytest.approx(0, abs=1e-5)]  # whitened advantages have no mean


def test_a_stopped_job_goes_on_with_its_value_head(lab):
    spec = spec_of(lab, max_steps=4, save_steps=2)
    folder = lab.train(spec)
    heads = [load_file(folder / names.CHECKPOINTS / f"checkpoint-{step}" / VALUE_HEAD)["weight"] for step in (2, 4)]
    assert not torch.equal(heads[0], heads[1])
    assert not (folder / names.ADAPTER / VALUE_HEAD).exists()
    again = lab.copy(folder)
    for step in ("checkpoint-4",):
        for file in sorted((again / names.CHECKPOINTS / step).iterdir()):
            file.unlink()
        (again / names.CHECKPOINTS / step).rmdir()
    train_in(again)
    losses = values_of(again, "loss")
    assert len(losses) == 6  # two of the first attempt, kept in its events, and the steps 3 and 4 once more
    assert all(math.isfinite(loss) for loss in losses)


def test_more_answers_a_round_than_prompts_are_refused(lab):
    with pytest.raises(UserError, match="writes 32 answers; there are 24 prompts"):
        lab.train(spec_of(lab, per_device_train_batch_size=16, options={"num_mini_batches": 2}))


@pytest.fixture(scope="module")
def rewarded(lab):
    """{KL coefficient: the job's folder}: every weight of the tiny model learns to write the letter e."""
    same = {"max_steps": 60, "learning_rate": 5e-3, "per_device_train_batch_size": 24, "save_steps": 1000}
    jobs = {}
    for kl_coef in (0.0, 0.1, 1.0):
        options = {"name": "ppo", "reward_contains": "e", "max_completion_length": 6, "num_ppo_epochs": 2}
        spec = spec_of(lab, options=options | {"kl_coef": kl_coef}, **same)
        values = {**spec.model_dump(), "tuner": {"name": "full"}}
        jobs[kl_coef] = lab.train(type(spec)(**values))
    return jobs


def last(folder, name):
    return sum(values_of(folder, name)[-5:]) / 5


def test_the_reward_rises_and_the_distance_to_the_start_stays_bounded(rewarded):
    begun = sum(values_of(rewarded[0.1], "reward")[:2]) / 2
    assert begun < 0.65
    assert last(rewarded[0.1], "reward") > 0.8
    assert last(rewarded[0.1], "kl") < 8


def test_a_stronger_penalty_keeps_the_model_nearer_to_its_start(rewarded):
    free, mild, strong = (last(rewarded[kl_coef], "kl") for kl_coef in (0.0, 0.1, 1.0))
    assert free > 2 * mild > 4 * strong
    assert strong < 1.5
