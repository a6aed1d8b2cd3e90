"""Which GPUs, how much memory, what the CPU can do; without torch."""

import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Gpu:
    name: str
    total_bytes: int
    used_bytes: int


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """`bf16`: whether the CPU multiplies bfloat16 in hardware (else it is many times slower than float32)."""

    name: str
    cores: int
    bf16: bool


class BusyMeter:
    """How busy the processor was since it was asked last, by whichever thread.

    psutil.cpu_percent() keeps its last sample for each thread, and says 0 in one that asks for the first time.
    """

    def __init__(self) -> None:
        self._last, self._share = _processor_seconds(), 0.0

    def share(self) -> float:
        """From 0 to 1."""
        busy, total = _processor_seconds()
        if total > self._last[1]:
            self._share = min(1.0, max(0.0, (busy - self._last[0]) / (total - self._last[1])))
            self._last = busy, total
        return self._share


def _processor_seconds() -> tuple[float, float]:
    """(busy, all) since the machine started. What guests took is within what users and nice ones did."""
    times = psutil.cpu_times()._asdict()
    total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return total - times["idle"] - times.get("iowait", 0.0), total


@cache
def cpu() -> Cpu:
    """The CPU of this machine."""
    name, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        fields = dict(
            (key.strip(), value.strip())
            for key, _, value in (line.partition(":") for line in cpuinfo.read_text().splitlines())
        )
        name, flags = fields.get("model name", name), fields.get("flags", "") + " " + fields.get("Features", "")
    elif shutil.which("sysctl"):
        name = _output(["sysctl", "-n", "machdep.cpu.brand_string"]).strip() or name
        flags = "bf16" if _output(["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]).strip() == "1" else ""
    has_bf16 = any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    return Cpu(name=name, cores=len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity")
               else psutil.cpu_count() or 1, bf16=has_bf16)  # fmt: skip


def gpus() -> list[Gpu]:
    """NVIDIA cards as their driver reports them; empty when there is none. Bytes."""
    if shutil.which("nvidia-smi") is None:
        return []
    table = _output(["nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits"])
    rows = [line.split(", ") for line in table.splitlines()]
    return [
        Gpu(name=row[0], total_bytes=int(row[1]) * 1024**2, used_bytes=int(row[2]) * 1024**2)
        for row in rows
        if len(row) == 3 and row[1].isdigit() and row[2].isdigit()
    ]


def process_memory(pid: int) -> int | None:
    """Bytes that NVIDIA's driver counts for a process on its cards; None when it does not tell."""
    if shutil.which("nvidia-smi") is None:
        return None
    table = _output(["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"])
    rows = [line.split(", ") for line in table.splitlines()]
    own = [int(row[1]) * 1024**2 for row in rows if len(row) == 2 and row[0] == str(pid) and row[1].isdigit()]
    return sum(own) if own else None


def available_memory() -> int:
    """Bytes of main memory that a new process can take without pushing others out."""
    return int(psutil.virtual_memory().available)


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
