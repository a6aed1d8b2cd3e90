"""Options that several tuners have under one name and with one meaning, said once."""

from typing import Any

from pydantic import Field

RANK: Any = Field(
    default=8,
    ge=1,
    le=1024,
    title="Rank (r)",
    description="Width of what is learned beside each matrix. 8 suits most tasks; 4 simple ones, 16 to 32 hard ones.",
)
LORA_ALPHA: Any = Field(
    default=16,
    ge=1,
    le=4096,
    title="Alpha",
    description="Scale of what is learned: the update is multiplied by alpha / r. Usual: 2 to 4 times r.",
)
LORA_DROPOUT: Any = Field(
    default=0.0,
    ge=0,
    lt=1,
    title="Dropout",
    description="Share of inputs to the adapter that is dropped at random; 0.05 to 0.1 helps small sets.",
)
VIRTUAL_TOKENS: Any = Field(
    default=20,
    ge=1,
    le=1000,
    title="Virtual tokens",
    description="How many learned vectors stand before the text; they take that much of the context. 10 to 100.",
)
ENCODER_WIDTH: Any = Field(
    default=128,
    ge=1,
    le=16384,
    title="Encoder width",
    description="Width of the network that makes the learned vectors while training.",
)
