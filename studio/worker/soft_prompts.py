"""What prompt, prefix and P-tuning learned: vectors that come before the text, and leave the model as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftType
from safetensors.torch import load_file
from transformers import DynamicCache

FILE = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class SoftPrompt:
    """`embeddings` (virtual tokens, hidden) stand before the text; `layers` are keys and values of every layer."""

    embeddings: torch.Tensor | None
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    @property
    def length(self) -> int:
        """How many places it takes."""
        return int(self.layers[0][0].shape[2] if self.embeddings is None else self.embeddings.shape[0])

    @property
    def size(self) -> int:
        """Bytes."""
        tensors = [one for pair in self.layers for one in pair]
        return sum(one.nbytes for one in (tensors if self.embeddings is None else [self.embeddings]))

    def begin(self, model: Any, input_ids: torch.Tensor) -> tuple[DynamicCache, dict[str, Any]]:
        """(the cache to begin with, the model's inputs) for a text of input_ids (1, tokens)."""
        cache = DynamicCache()
        for index, (key, value) in enumerate(self.layers):
            cache.update(key, value, index)
        if self.embeddings is None:
            return cache, {"input_ids": input_ids}
        text = model.get_input_embeddings()(input_ids)
        return cache, {"inputs_embeds": torch.cat([self.embeddings[None].to(text.dtype), text], 1)}


def load_soft_prompt(folder: Path, config: Any, model: Any) -> SoftPrompt:
    """The vectors in an adapter's folder, on the model's device; keys and values in its dtype."""
    learned = load_file(folder / FILE)["prompt_embeddings"].to(model.device)
    if config.peft_type != PeftType.PREFIX_TUNING:
        return SoftPrompt(embeddings=learned)
    heads, width = config.num_attention_heads, config.token_dim // config.num_attention_heads
    # (tokens, layers × 2, heads, width) → for each layer (1, heads, tokens, width), twice
    split = learned.to(model.dtype).view(config.num_virtual_tokens, config.num_layers, 2, heads, width)
    layers = split.permute(1, 2, 3, 0, 4).unsqueeze(2)
    return SoftPrompt(embeddings=None, layers=tuple((pair[0], pair[1]) for pair in layers))


def count_positions(model: Any) -> None:
    """Let a soft prompt stand right before a text that is padded on its left, as it does when answers are written.

    PEFT passes no positions on, and by their places alone the padding would come between.
    """
    config = getattr(model, "active_peft_config", None)
    if config is None or not config.is_prompt_learning:
        return

    def add_positions(module: Any, inputs: Any, named: dict[str, Any]) -> Any:
        mask = named.get("attention_mask")
        if mask is None or named.get("position_ids") is not None:
            return None
        text = named["input_ids"] if named.get("inputs_embeds") is None else named["inputs_embeds"]
        return inputs, {**named, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -text.shape[1] :]}

    model.get_base_model().register_forward_pre_hook(add_positions, with_kwargs=True)


def hide_soft_prompt(model: Any) -> None:
    """Cut the positions of a soft prompt off the logits, for a trainer that counts from the first token of the text."""
    config = _soft_prompt(model)
    if config is None:
        return

    def cut(module: Any, inputs: Any, output: Any) -> Any:
        output.logits = output.logits[:, config.num_virtual_tokens :]
        return output

    model.register_forward_hook(cut)


def score_last_token(model: Any) -> None:
    """Let a model that scores look at a text's last token, also where a soft prompt stands before it.

    transformers finds that token by the padding among the ids, which it does not get to see then: it would score
    the padding of all but the longest text.
    """
    if _soft_prompt(model) is None:
        return

    def bring_to_end(module: Any, inputs: Any, named: Any, output: Any) -> Any:
        mask, hidden = named["attention_mask"], output.last_hidden_state.clone()
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
        hidden[:, -1] = output.last_hidden_state[torch.arange(len(hidden), device=mask.device), last]
        output.last_hidden_state = hidden
        return output

    model.get_base_model().base_model.register_forward_hook(bring_to_end, with_kwargs=True)


def _soft_prompt(model: Any) -> Any:
    """The configuration of an adapter whose vectors stand before the text's embeddings; None for others."""
    config = getattr(model, "active_peft_config", None)
    return config if config and config.peft_type in (PeftType.PROMPT_TUNING, PeftType.P_TUNING) else None
