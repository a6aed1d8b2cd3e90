"""`python -m benchmarks.fake_job FOLDER POINTS`: says what a worker says in a long training, and trains nothing."""

import math
import sys
import time
from pathlib import Path

from studio import workspace as names
from studio.jobs.events import Metrics, Started
from studio.worker.teller import Teller

PER_SECOND = 5
MAX_STEPS = 1_000_000


def point(step: int) -> Metrics:
    """A step's figures, of the size of real ones."""
    loss = 2.0 / math.sqrt(1 + step / 100) + 0.05 * math.sin(step)
    values = {"loss": loss, "grad_norm": 1 + loss / 3, "learning_rate": 3e-4, "tokens_per_second": 800 + step % 90}
    return Metrics(step=step, epoch=step / 1000, elapsed=step / PER_SECOND, values=values)


def main(folder: Path, points: int) -> None:
    """Write so many points at once, then five a second until the process is ended."""
    events = Teller(folder / names.EVENTS)
    events.write(
        Started(
            max_steps=MAX_STEPS,
            trainable_parameters=2_442_240,
            parameters=136_957_248,
            train_examples=4000,
            eval_examples=0,
            device="cpu",
            dtype="float32",
        )
    )
    for step in range(1, points + 1):
        events.write(point(step))
    step = points
    while True:
        step += 1
        events.write(point(step))
        (folder / names.HEARTBEAT).touch()
        time.sleep(1 / PER_SECOND)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
