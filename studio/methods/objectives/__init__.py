"""What can be taught. One file an objective; the order is the menu's order."""

from studio.methods.objectives.contract import Chart, Objective
from studio.methods.objectives.dpo import DPO
from studio.methods.objectives.sft import SFT

OBJECTIVES: dict[str, Objective] = {
    "sft": SFT,
    "dpo": DPO,
}

__all__ = ["OBJECTIVES", "Chart", "Objective"]
