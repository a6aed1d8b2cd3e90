"""Elastic weight consolidation (arXiv 1612.00796): weights that matter for general text are held where they were."""

from typing import Any

import torch

Rows = list[dict[str, Any]]


class Consolidation:
    """λ/2 · Σ F·(θ − θ*)² over the trained weights θ: F the Fisher information's diagonal, θ* where they began.

    F is the mean over the rows' learned tokens, as the loss is, so that λ says how many times as much general data
    stands behind the old weights as there is new data behind the new ones. It takes memory for two more copies of
    the trained weights.
    """

    def __init__(self, model: Any, rows: Rows, strength: float) -> None:
        self.strength = strength
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.before = [weight.detach().clone() for weight in self.trained]
        self.fisher = fisher_diagonal(model, self.trained, rows)

    def penalty(self) -> torch.Tensor:
        """What is added to the loss; 0 at the start."""
        held = zip(self.trained, self.before, self.fisher, strict=True)
        sums = [(fisher * (weight - before).float().square()).sum() for weight, before, fisher in held]
        return self.strength / 2 * torch.stack(sums).sum()


def fisher_diagonal(model: Any, trained: list[torch.nn.Parameter], rows: Rows) -> list[torch.Tensor]:
    """For each trained weight the mean of the squared gradients of log p(row), per learned token, float32.

    The rows' own tokens are the labels: the empirical Fisher information.
    """
    fisher = [torch.zeros_like(weight, dtype=torch.float32) for weight in trained]
    was_training = model.training
    model.eval()  # without dropout
    learned = 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]], device=trained[0].device)
        labels = torch.tensor([row["labels"]], device=trained[0].device)
        tokens = int((labels[:, 1:] >= 0).sum())
        if not tokens:
            continue
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss * tokens
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        for total, gradient in zip(fisher, gradients, strict=True):
            if gradient is not None:
                total += gradient.float().square()
        learned += tokens
    model.train(was_training)
    return [total / max(learned, 1) for total in fisher]
