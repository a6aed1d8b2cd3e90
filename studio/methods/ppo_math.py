"""The arithmetic of PPO (arXiv 1707.06347) on answers: rewards by token, advantages, clipped losses.

Every tensor is (answers, tokens); `mask` is 1 where an answer has a token. Position t holds what belongs to the
decision for token t: its log-probability, and the value of the state before it.
"""

import torch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean where the mask is 1."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: torch.Tensor, mask: torch.Tensor, *, shift_mean: bool = True) -> torch.Tensor:
    """Mean 0 and variance 1 over the mask; without `shift_mean` the mean stays."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


def token_rewards(
    scores: torch.Tensor, log_probs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, kl_coef: float
) -> torch.Tensor:
    """r(x, y) − β·KL, token by token: the distance at each, and the answer's score (answers) at its last one."""
    rewards = -kl_coef * (log_probs - reference) * mask
    last = (mask.sum(1) - 1).clamp(min=0).long()
    rewards[torch.arange(len(scores)), last] += scores
    return rewards


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438): A_t = δ_t + γλ·A_{t+1}, δ_t = r_t + γ·V_{t+1} − V_t."""
    values = values * mask
    advantages = torch.zeros_like(rewards)
    coming = torch.zeros_like(rewards[:, 0])
    following = torch.zeros_like(coming)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        coming = (delta + gamma * lam * coming) * mask[:, t]
        advantages[:, t] = coming
        following = values[:, t]
    return advantages, (advantages + values) * mask


def policy_loss(
    log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, cliprange: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the clipped loss, the share of tokens at which the clip decided)."""
    ratio = ((log_probs - old) * mask).exp()
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return masked_mean(torch.max(free, clipped), mask), masked_mean((clipped > free).float(), mask).detach()


def value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, cliprange: float
) -> torch.Tensor:
    """Half the squared error; a value that has moved further than the clip range gains nothing by it."""
    near = old + (values - old).clamp(-cliprange, cliprange)
    return 0.5 * masked_mean(torch.max((values - returns) ** 2, (near - returns) ** 2), mask)
