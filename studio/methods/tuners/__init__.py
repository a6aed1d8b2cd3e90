"""How much of the model learns. One file a tuner; the order is the menu's order."""

from studio.methods.tuners.contract import Tuner
from studio.methods.tuners.full import FULL
from studio.methods.tuners.lora import LORA

TUNERS: dict[str, Tuner] = {
    "lora": LORA,
    "full": FULL,
}

__all__ = ["TUNERS", "Tuner"]
