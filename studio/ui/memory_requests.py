"""What the Memory tab may ask, checked: a model, a card and a configuration by the libraries' names."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from studio.memory.setup import Setup

MOST = 1_048_576


class MemoryWish(BaseModel):
    """`setup` holds fields of Setup alone; what they may be is checked there."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=400)
    card: str = Field(default="", max_length=80)
    tuner: str = "lora"
    options: dict[str, str | int | float | bool | list[str]] = Field(default_factory=dict, max_length=20)
    objective: str = "sft"
    batch: int = Field(default=1, ge=1, le=4096)
    length: int = Field(default=1024, ge=1, le=MOST)
    padded: bool = False
    quantization: str = "none"
    double_quant: bool = True
    dtype: str = "bfloat16"
    optim: str = "adamw_torch"
    checkpointing: bool = True
    accumulation: int = Field(default=1, ge=1, le=4096)
    loss: str = "fused"
    autocast: bool = True
    reward_model: bool = False
    supervised_share: float = Field(default=1.0, gt=0, le=1)
    attention: str = "sdpa"
    reference: str = "adapter"
    cards: int = Field(default=1, ge=1, le=1024)
    sharding: str = "none"

    def setup(self) -> Setup:
        """Raises UserError when a word is not known."""
        values: dict[str, Any] = self.model_dump(exclude={"model", "card"})
        return Setup(**values)
