"""What can be taught. One file an objective; the order is the menu's order."""

from studio.methods.objectives.contract import Chart, Objective
from studio.methods.objectives.cpo import CPO
from studio.methods.objectives.dpo import DPO
from studio.methods.objectives.grpo import GRPO
from studio.methods.objectives.kto import KTO
from studio.methods.objectives.orpo import ORPO
from studio.methods.objectives.ppo import PPO
from studio.methods.objectives.reward import REWARD
from studio.methods.objectives.rloo import RLOO
from studio.methods.objectives.sft import SFT

OBJECTIVES: dict[str, Objective] = {
    "sft": SFT,
    "dpo": DPO,
    "orpo": ORPO,
    "cpo": CPO,
    "kto": KTO,
    "reward": REWARD,
    "ppo": PPO,
    "rloo": RLOO,
    "grpo": GRPO,
}

__all__ = ["OBJECTIVES", "Chart", "Objective"]
