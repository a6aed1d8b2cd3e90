"""One batch through model and loss on fake tensors, as each objective's trainer does it on a card."""

import contextlib
from typing import Any

import torch
from torch import nn

from studio.memory.setup import Setup
from studio.worker.fake_memory import FakeMemory

TILE_TOKENS, TILE_WORDS = 4096, 32768  # of TRL's fused head


class _FusedLoss(torch.autograd.Function):
    """TRL's chunked head: one tile of logits, seven numbers a token, gradients accumulated in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        tokens = hidden.shape[0]
        tile = torch.empty(min(tokens, TILE_TOKENS), TILE_WORDS, dtype=torch.bfloat16)
        numbers = [torch.empty(tokens) for _ in range(7)]
        words = _words(weight)
        ctx.save_for_backward(hidden, weight, numbers[0], numbers[1])
        del tile, words
        return numbers[2] * 1

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden, weight, _, _ = ctx.saved_tensors
        of_hidden = torch.zeros(hidden.shape)
        of_weight = torch.zeros(weight.shape) if ctx.needs_input_grad[1] else None
        tile = torch.empty(min(hidden.shape[0], TILE_TOKENS), TILE_WORDS, dtype=torch.bfloat16)
        words = _words(weight)
        del words
        result = of_hidden.to(hidden.dtype), None if of_weight is None else of_weight.to(weight.dtype)
        del tile
        return result


def _words(weight: torch.Tensor) -> torch.Tensor | None:
    """The 16-bit copy of the tile's words that float32 weights need under autocast."""
    if weight.dtype == torch.float32 and torch.is_autocast_enabled("cpu"):
        return torch.empty(TILE_WORDS, weight.shape[1], dtype=torch.bfloat16)
    return None


class FusedHead(nn.Module):
    """In place of the output head: keeps the hidden states that reach it, and makes their loss without logits."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.weight = head.weight
        self.hidden: torch.Tensor | None = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.hidden = hidden
        return hidden[..., :1].detach()

    def loss(self, share: float) -> torch.Tensor:
        """The loss of this share of the tokens. Must follow a forward pass."""
        assert self.hidden is not None
        hidden, self.hidden = self.hidden[:, :-1], None
        learned = max(1, round(hidden.shape[0] * hidden.shape[1] * share))
        index = torch.arange(learned)
        return _FusedLoss.apply(hidden.reshape(-1, hidden.shape[-1])[index], self.weight).sum()


class _LogProbabilities(torch.autograd.Function):
    """TRL's kernel for the log-probabilities of given tokens: keeps the logits that it got, and makes their gradient
    in their dtype (trl/kernels/logprob_entropy.py)."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
        numbers = [torch.empty(logits.shape[:-1]) for _ in range(4)]
        ctx.save_for_backward(logits, *numbers[2:])
        return numbers[0]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(ctx.saved_tensors[0], memory_format=torch.contiguous_format)


def learn(model: Any, reference: Any, setup: Setup, memory: FakeMemory) -> None:
    """Forward and backward pass of one batch."""
    memory.phase = "forward"
    ids = torch.randint(0, 9, (setup.sequences, setup.length))
    loss = LOSSES.get(setup.objective, _referred)(model, reference, setup, ids)
    memory.phase = "loss"
    loss.backward()


def _referred(model: Any, reference: Any, setup: Setup, ids: torch.Tensor) -> torch.Tensor:
    """SFT; and DPO and KTO, whose reference looks at the batch while the policy's activations are kept.

    KTO passes an answer of another row beside each, without gradients (trl/trainer/kto_trainer.py).
    """
    unpaired = setup.objective == "kto"
    if unpaired:
        with torch.no_grad():
            score(model, setup, ids)
    loss = score(model, setup, ids)
    if setup.objective not in ("dpo", "kto") or setup.reference == "precomputed":
        return loss
    with torch.no_grad():
        away = model.disable_adapter() if hasattr(model, "disable_adapter") and not reference else None
        with away or contextlib.nullcontext():
            for _ in range(2 if unpaired else 1):
                kept = score(reference or model, setup, ids)
    return loss - kept


def _odds(model: Any, reference: Any, setup: Setup, ids: torch.Tensor) -> torch.Tensor:
    """ORPO and CPO: TRL's experimental trainers make all logits, which accelerate turns into float32 under autocast;
    the chosen half has a cross-entropy of its own (trl/experimental/orpo/orpo_trainer.py)."""
    with _autocast(setup):
        logits = model(input_ids=ids).logits
    if setup.autocast:
        logits = logits.float()
    chosen = logits[: setup.batch, :-1].contiguous()
    words = chosen.view(-1, chosen.shape[-1])
    own = nn.functional.cross_entropy(words, ids[: setup.batch, 1:].reshape(-1))
    return own + _LogProbabilities.apply(logits[:, :-1]).mean()


def _ranked(model: Any, reference: Any, setup: Setup, ids: torch.Tensor) -> torch.Tensor:
    """A reward model's: the chosen answer's number above the rejected one's."""
    with _autocast(setup):
        numbers = model(input_ids=ids).logits.squeeze(-1)
    chosen, rejected = torch.chunk(numbers, 2)
    return -nn.functional.logsigmoid(chosen - rejected).mean()


LOSSES = {"orpo": _odds, "cpo": _odds, "reward": _ranked}


def score(model: Any, setup: Setup, ids: torch.Tensor) -> torch.Tensor:
    """The loss of tokens (sequences, length) under the model: by TRL's fused head, or by transformers' full one."""
    with _autocast(setup):
        if setup.loss != "fused":
            return model(input_ids=ids, labels=ids).loss  # type: ignore[no-any-return]
        model(input_ids=ids)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        return base.get_output_embeddings().loss(setup.supervised_share)  # type: ignore[no-any-return]


def _autocast(setup: Setup) -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=setup.autocast)
