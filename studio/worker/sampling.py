"""From logits to the next token of each conversation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

NUCLEUS = 1024  # most of what is likely is among so few tokens; the rest is sorted only when it is not


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn; temperature 0 takes the likeliest. An answer ends before a text of `stop`."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 256
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def generator(self, device: torch.device) -> torch.Generator | None:
        """Where the chance comes from; None for everybody's own."""
        return None if self.seed is None else torch.Generator(device).manual_seed(self.seed)


def draw_all(
    logits: torch.Tensor, samplings: Sequence[Sampling], generators: Sequence[torch.Generator | None]
) -> list[int]:
    """A token for each row of logits (rows, vocabulary)."""
    greedy: list[int] = logits.argmax(-1).tolist()
    return [
        best if sampling.temperature == 0 else draw(row.float(), sampling, generator)
        for best, row, sampling, generator in zip(greedy, logits, samplings, generators, strict=True)
    ]


def draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator | None) -> int:
    """A token from logits (vocabulary), by nucleus sampling (arXiv 1904.09751)."""
    scaled = logits / sampling.temperature
    if sampling.top_p >= 1:
        return int(torch.multinomial(scaled.softmax(-1), 1, generator=generator))
    total = scaled.logsumexp(-1)
    best, tokens = scaled.topk(min(NUCLEUS, len(scaled)))
    probabilities = (best - total).exp()
    if len(best) < len(scaled) and float(probabilities.sum()) < sampling.top_p:
        best, tokens = scaled.sort(descending=True)
        probabilities = (best - total).exp()
    # A token belongs to the nucleus when those before it do not reach top_p.
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities * (before < sampling.top_p)
    return int(tokens[torch.multinomial(kept, 1, generator=generator)])


def sum_of_log_probabilities(logits: torch.Tensor, tokens: Sequence[int]) -> float:
    """The natural logarithm of the probability of tokens (n), each given by its row of logits (n, vocabulary)."""
    picked = torch.tensor(tokens, device=logits.device)[:, None]
    return float(logits.float().log_softmax(-1).gather(1, picked).double().sum())
