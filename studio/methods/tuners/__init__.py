"""How much of the model learns. One file a tuner; the order is the menu's order."""

from studio.methods.tuners.adalora import ADALORA
from studio.methods.tuners.bottleneck import BOTTLENECK
from studio.methods.tuners.contract import Tuner
from studio.methods.tuners.full import FULL
from studio.methods.tuners.ia3 import IA3
from studio.methods.tuners.lora import LORA
from studio.methods.tuners.p_tuning import P_TUNING
from studio.methods.tuners.p_tuning_v2 import P_TUNING_V2
from studio.methods.tuners.partial import PARTIAL
from studio.methods.tuners.prefix_tuning import PREFIX_TUNING
from studio.methods.tuners.prompt_tuning import PROMPT_TUNING
from studio.methods.tuners.shira import SHIRA

TUNERS: dict[str, Tuner] = {
    "lora": LORA,
    "full": FULL,
    "partial": PARTIAL,
    "adalora": ADALORA,
    "ia3": IA3,
    "bottleneck": BOTTLENECK,
    "shira": SHIRA,
    "prompt_tuning": PROMPT_TUNING,
    "p_tuning": P_TUNING,
    "prefix_tuning": PREFIX_TUNING,
    "p_tuning_v2": P_TUNING_V2,
}

__all__ = ["TUNERS", "Tuner"]
