"""Stands in for studio.worker: says what a file named by the job's seed tells it to, without torch."""

import os
import signal
import sys
import time
from pathlib import Path

from studio.jobs.events import Checkpoint, EventWriter, Failed, Finished, Metrics, Progress, Started, Stopped
from studio.jobs.spec import read_train_spec

STEPS = 40


def main(folder: Path) -> int:
    seed = read_train_spec(folder / "spec.yaml").seed
    events = EventWriter(folder / "events.jsonl")
    stop = []
    signal.signal(signal.SIGTERM, lambda *unused: stop.append(1))
    if seed == 3:
        print("libfoo.so: cannot open shared object file", flush=True)
        os._exit(7)  # a library that ends the process without a word
    events.write(Progress(phase="starting"))
    if seed == 2:
        events.write(Failed(cause="user", message="The disk is full.", hint="Free some."))
        return 2
    events.write(
        Started(
            max_steps=STEPS, trainable_parameters=1, parameters=2, train_examples=3, eval_examples=0, device="cpu",
            dtype="float32",
        )
    )  # fmt: skip
    for step in range(1, STEPS + 1):
        events.write(Metrics(step=step, elapsed=step * 0.05, values={"loss": 5.0 - step / 10}))
        if stop:
            events.write(Checkpoint(step=step, path=f"checkpoints/checkpoint-{step}"))
            events.write(Stopped(step=step))
            return 0
        time.sleep(0.05 if seed not in (4, 6) else 0.0)
    if seed == 5:
        signal.pause()
    events.write(Finished(step=STEPS, seconds=2, result="adapter", result_bytes=1, peak_memory_bytes=1))
    if seed == 6:
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
