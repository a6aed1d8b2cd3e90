"""What others need for the same work: numbers that were measured once, to stand beside ours."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One program's figures, by the number format of the weights; `first_step_cpu_seconds`: least and most."""

    name: str
    note: str
    tokens_per_cpu_second: dict[str, float]
    peak_memory_gb: dict[str, float]
    first_step_cpu_seconds: tuple[float, float]


LLAMA_FACTORY = Peer(
    name="LLaMA-Factory 0.9.5 at its defaults",
    note="Measured once, elsewhere, on 2 cores: the same model, the first 256 Alpaca rows, the same LoRA.",
    tokens_per_cpu_second={"float32": 28.7, "bfloat16": 48.6},
    peak_memory_gb={"float32": 2.9, "bfloat16": 2.4},
    first_step_cpu_seconds=(18.0, 23.0),
)
