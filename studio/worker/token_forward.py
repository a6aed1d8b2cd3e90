"""Training on a CPU without wasted arithmetic: no padding, and logits only where a label is.

TRL's trainers call `model(..., labels=…, fused_lm_head=True)` and read log-probabilities. On a CPU its fused
head scores padding and prompts as well and walks several times over every logit. Here the padded batch is
laid out as one long row, attention runs sequence by sequence, and the head sees the labelled positions alone.
The numbers are the same (tests compare them); a step of padded Alpaca rows takes a third of the time.
"""

import functools
import types
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

ATTENTION = "studio_sequences"
# Architectures whose attention is plain causal softmax and whose logits are the head's product, nothing more.
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
ROWS_AT_ONCE = 64  # labelled positions a tile: 64 × 49,152 float32 logits are 12 MiB, which a last-level cache holds


def supports(config: Any) -> bool:
    """Whether this architecture can take the short way."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return config.model_type in MODEL_TYPES and window is None and kinds == {"full_attention"}


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of a row; shapes (1, heads, tokens, width), bounds `cu_seq_lens_q`."""
    if cu_seq_lens_q is None:
        sdpa = AttentionInterface()["sdpa"]
        return sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    lengths = cu_seq_lens_q.diff().tolist()
    grouped = query.shape[1] != key.shape[1]
    outputs = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=grouped
        ).transpose(1, 2)
        for q, k, v in zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    ]
    return torch.cat(outputs, 1), None


def mask(*args: Any, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
    """No mask for a row of sequences (attend cuts it); a padded batch, or one after a cache, gets SDPA's own."""
    if attention_mask is None and q_length == kv_length:
        return None
    return AttentionMaskInterface()["sdpa"](
        *args, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs
    )


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, mask)


class LabelLogProbs(torch.autograd.Function):
    """Log-probability of each label: hidden (N, H), weight (V, H), labels (N) → (N) and three figures for logs.

    The gradient with respect to the hidden states is made in the forward pass, while a tile's logits are still
    in the cache. When the head itself is trained, the tiles are computed once more in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        count = hidden.shape[0]
        log_probs, entropy, mean_logits = (hidden.new_empty(count, dtype=torch.float32) for _ in range(3))
        is_top1 = torch.empty(count, dtype=torch.bool)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, count, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            logits = functional.linear(hidden[rows], weight).float()
            label = labels[rows, None]
            top, best = logits.max(-1, keepdim=True)
            mean_logits[rows] = logits.mean(-1)
            is_top1[rows] = (best == label)[:, 0]
            logits -= top
            picked = logits.gather(1, label)
            probabilities = logits.exp()
            total = probabilities.sum(-1, keepdim=True)
            log_total = total.log()
            log_probs[rows] = (picked - log_total)[:, 0]
            entropy[rows] = (log_total[:, 0]) - torch.linalg.vecdot(probabilities, logits) / total[:, 0]
            if gradient is not None:
                gradient[rows] = _towards_label(probabilities, total, label).to(weight.dtype) @ weight
        ctx.save_for_backward(hidden, weight, labels, gradient)
        ctx.mark_non_differentiable(entropy, mean_logits, is_top1)
        return log_probs, entropy, mean_logits, is_top1

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor, *unused: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, labels, gradient = ctx.saved_tensors
        to_hidden = gradient * upstream[:, None].to(gradient.dtype) if gradient is not None else None
        if not ctx.needs_input_grad[1]:
            return to_hidden, None, None
        to_weight = torch.zeros_like(weight)
        for start in range(0, hidden.shape[0], ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            logits = functional.linear(hidden[rows], weight).float()
            logits -= logits.max(-1, keepdim=True).values
            probabilities = logits.exp_()
            total = probabilities.sum(-1, keepdim=True)
            change = _towards_label(probabilities, total, labels[rows, None]) * upstream[rows, None]
            to_weight.addmm_(change.to(weight.dtype).T, hidden[rows])
        return to_hidden, to_weight, None


def _towards_label(probabilities: torch.Tensor, total: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """d log p(label) / d logits = one-hot(label) − p, written over `probabilities`."""
    change = probabilities.div_(-total)
    return change.scatter_add_(1, label, torch.ones_like(label, dtype=change.dtype))


def shorten(model: PreTrainedModel) -> bool:
    """Give a model that TRL's trainer has prepared the short way. False when its architecture has none."""
    if not supports(model.config):
        return False
    padded_forward = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if fused_lm_head and not args and _is_plain_batch(kwargs):
            return _score(self, **kwargs)
        if fused_lm_head:
            kwargs["fused_lm_head"] = True
        return padded_forward(*args, **kwargs)

    model.set_attn_implementation(ATTENTION)
    model.forward = types.MethodType(forward, model)
    return True


def _is_plain_batch(inputs: dict[str, Any]) -> bool:
    known = {"input_ids", "attention_mask", "labels", "use_cache", "num_items_in_batch"}
    given = {name for name, value in inputs.items() if value is not None and value is not False}
    return given <= known and {"input_ids", "attention_mask", "labels"} <= given


def _score(
    model: PreTrainedModel,
    *,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    **unused: Any,
) -> FusedCausalLMOutput:
    """TRL's fused output for a right- or left-padded batch (batch, length); per-token fields (batch, length − 1)."""
    real = attention_mask.bool()
    lengths = real.sum(1)
    bounds = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)
    hidden = model.base_model(
        input_ids=input_ids[real][None],
        position_ids=(real.cumsum(1) - 1)[real][None],
        use_cache=False,
        cu_seq_lens_q=bounds,
        cu_seq_lens_k=bounds,
        max_length_q=int(lengths.max()),
        max_length_k=int(lengths.max()),
    ).last_hidden_state[0]
    following = torch.full_like(labels, -100)
    following[:, :-1] = labels[:, 1:]
    scored = real & (following != -100)
    head = model.get_output_embeddings()
    figures = LabelLogProbs.apply(hidden[scored[real]], head.weight, following[scored])
    log_probs, entropy, mean_logits, is_top1 = (
        figure.new_zeros(scored.shape).masked_scatter(scored, figure)[:, :-1] for figure in figures
    )
    label_mask = scored[:, :-1]
    count = label_mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / count,
        log_probs=log_probs,
        entropy=entropy,
        mean_logits=mean_logits,
        is_top1=is_top1,
        label_mask=label_mask,
    )
