"""Above which learning rate a method forgets more than it need: the document's range, and what is usual today."""

import math

from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS

# (adapters, all weights)
ANSWERS, PREFERENCES = (5e-4, 5e-5), (1e-4, 1e-5)


def gentle_limit(objective: str, tuner: str) -> float:
    """The highest rate that is usual; infinite for what learns vectors, not matrices: it takes far larger ones."""
    chosen = TUNERS[tuner]
    if "num_virtual_tokens" in chosen.options.model_fields or tuner == "ia3":
        return math.inf
    aim = OBJECTIVES[objective]
    answers = objective in ("sft", "reward") and not aim.rewarded
    return (ANSWERS if answers else PREFERENCES)[chosen.whole_model]
