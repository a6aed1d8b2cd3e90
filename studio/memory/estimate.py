"""Setup + shape + card → how much memory it takes, where it peaks, whether it fits."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from studio.memory import sharding
from studio.memory.parameters import trainable_parameters
from studio.memory.phases import Terms, compute_terms, peaks
from studio.memory.setup import Setup
from studio.memory.shapes import Shape

GIB = 1024**3
CONTEXT = 0.55 * GIB
"""CUDA context and library workspaces: fitted on 11 published pairs, 0.3 to 1 GiB by card and driver."""
SLACK = 0.05
"""Share of the dynamic part that the allocator needs beside what is allocated (expandable segments)."""
SHOWN_FULL, SHOWN_FUSED = 0.28, 0.12
"""Shares of the dynamic part that nvidia-smi shows beside it, with and without the logits: fitted likewise."""
MOST_BATCH, MOST_LENGTH = 4096, 1_048_576


@dataclass(frozen=True, kw_only=True)
class Box:
    """What is known of a machine: bytes of context, and the allocator's share of the dynamic part. `factor`:
    measured over predicted of its finished jobs, `jobs` of them."""

    context: float = CONTEXT
    slack: float = SLACK
    factor: float = 1.0
    jobs: int = 0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes. `allocated`: torch's peak. `needed`: what a card must have. `nvidia_smi`: what may be shown.

    `parameters` are PEFT's: the model's and the adapter's. `phases` are the allocated bytes of each moment, `phase` the
    one that binds; `parts` stacks it up.
    """

    terms: Terms
    phases: dict[str, float]
    phase: str
    parts: dict[str, float]
    allocated: float
    needed: float
    nvidia_smi: float
    parameters: int
    trainable_parameters: int

    def fits(self, usable: float) -> bool:
        return self.needed <= usable


def estimate(setup: Setup, shape: Shape, box: Box | None = None) -> Estimate:
    """The memory of one training step, from the second one on (the first has no optimizer states yet)."""
    box = box or Box()
    shape = replace(shape, scores=setup.objective == "reward")
    terms = sharding.divide(compute_terms(setup, shape), setup, shape)
    phases = peaks(setup, shape, terms)
    phase = max(phases, key=lambda name: phases[name])
    allocated = phases[phase] * box.factor
    needed, shown = beside(allocated, terms.resident, setup.head, box)
    trainable = trainable_parameters(setup, shape)
    return Estimate(
        terms=terms,
        phases=phases,
        phase=phase,
        parts=stack(terms, phase, phases[phase], setup),
        allocated=allocated,
        needed=needed,
        nvidia_smi=shown,
        parameters=shape.parameters + (0 if setup.trains_weights else trainable),
        trainable_parameters=trainable,
    )


def beside(allocated: float, resident: float, loss: str, box: Box | None = None) -> tuple[float, float]:
    """(bytes a card must have, bytes that nvidia-smi may show) for torch's peak, of which `resident` never moves."""
    box = box or Box()
    dynamic = max(0.0, allocated - resident)
    shown = SHOWN_FULL if loss == "full" else SHOWN_FUSED
    return allocated + box.slack * dynamic + box.context, allocated + max(shown, box.slack) * dynamic + box.context


def stack(terms: Terms, phase: str, total: float, setup: Setup) -> dict[str, float]:
    """What lies in memory at a phase, part by part; the parts add up to `total`."""
    parts = {
        "weights": terms.weights + terms.reference,
        "adapter": terms.adapter,
        "optimizer": terms.optimizer,
        "gradients": 0.0,
        "activations": 0.0,
        "loss": 0.0,
    }
    if phase in ("optimizer", "embeddings", "backward_first") or setup.accumulation > 1:
        parts["gradients"] = terms.gradients
    if phase == "loss":
        parts["loss"] = terms.loss + terms.hidden
    rest = total - sum(parts.values())
    parts["gradients" if phase in ("optimizer", "embeddings") else "activations"] += max(0.0, rest)
    return parts


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that `fits`, 0 when none does; `fits` must not come back once it fails."""
    if not fits(1):
        return 0
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_batch(setup: Setup, shape: Shape, usable: float, box: Box | None = None) -> int:
    """The most examples at once that fit into `usable` bytes."""
    return largest(lambda batch: estimate(replace(setup, batch=batch), shape, box).fits(usable), MOST_BATCH)


def longest_sequence(setup: Setup, shape: Shape, usable: float, box: Box | None = None) -> int:
    """The most tokens an example may have so that the batch fits into `usable` bytes, and the model's context."""
    most = max(1, (shape.max_length or MOST_LENGTH) - setup.virtual_tokens)
    return largest(lambda length: estimate(replace(setup, length=length), shape, box).fits(usable), most)
