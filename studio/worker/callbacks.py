"""What happens in training → events; a stop request → the end of training after the current step."""

import re
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from studio.jobs.events import EVALUATING, Checkpoint, EventWriter, Metrics, Progress
from studio.worker.stop import StopSwitch
from studio.workspace import CHECKPOINTS

NOT_METRICS = re.compile(r"(eval_)?(epoch|step|entropy|num_tokens|total_flos|runtime|\w+_per_second)")


class EventCallback(TrainerCallback):
    """Writes metrics and checkpoint events, and carries out a stop request."""

    def __init__(self, events: EventWriter, switch: StopSwitch, trainer: Any) -> None:
        self.events, self.switch, self.trainer = events, switch, trainer
        self._began = self._logged = time.monotonic()
        self._tokens = 0
        self._evaluating = False

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = self._logged = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.switch.pressed:
            control.should_save = control.should_log = control.should_training_stop = True
            control.should_evaluate = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = {
            key: float(value)
            for key, value in (logs or {}).items()
            if isinstance(value, int | float) and not NOT_METRICS.fullmatch(key)
        }
        if "train_runtime" in values:
            return  # the summary at the end: the finished event has it
        now = time.monotonic()
        if "loss" in values:
            tokens = self.trainer.real_tokens
            values["tokens_per_second"] = round((tokens - self._tokens) / max(now - self._logged, 1e-9), 1)
            self._tokens = tokens
        self._logged = now
        self.events.write(
            Metrics(
                step=state.global_step,
                epoch=float(state.epoch or 0),
                elapsed=round(now - self._began, 3),
                values=values,
            )
        )

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        if not self._evaluating:  # it can take longer than the steps, and no step is done meanwhile
            self.events.write(Progress(phase=EVALUATING))
        self._evaluating = True

    def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
        self._logged = time.monotonic()  # an evaluation is not training time
        self._evaluating = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._logged = time.monotonic()
        path = Path(CHECKPOINTS) / f"checkpoint-{state.global_step}"
        self.events.write(Checkpoint(step=state.global_step, path=str(path)))
