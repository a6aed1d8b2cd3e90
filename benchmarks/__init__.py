"""What the studio measures of itself: `make bench`."""

from benchmarks.alignment import ALIGNMENT
from benchmarks.contract import Benchmark
from benchmarks.data import DATA
from benchmarks.feedback_loop import FEEDBACK_LOOP
from benchmarks.forgetting import FORGETTING
from benchmarks.imports import IMPORTS
from benchmarks.memory import MEMORY
from benchmarks.memory_formulas import MEMORY_FORMULAS
from benchmarks.serving import SERVING
from benchmarks.start import START
from benchmarks.switch import SWITCH
from benchmarks.tabs import TABS
from benchmarks.training import TRAINING

FAMILIES = (
    START, IMPORTS, MEMORY, MEMORY_FORMULAS, DATA, TABS, SWITCH, SERVING, TRAINING, FORGETTING, ALIGNMENT,
    FEEDBACK_LOOP,
)  # fmt: skip
BENCHMARKS: dict[str, Benchmark] = {one.name: one for one in FAMILIES}
