"""TRL's trainers with what a studio needs: our tokens, real throughput, no silent NaN, whole checkpoints."""

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from studio.errors import UserError
from studio.methods.options import Options
from studio.methods.tuners import TUNERS
from studio.worker import checkpoints
from studio.worker.forgetting import Consolidation

WEIGHTS_CHECKED_EVERY = 50  # steps; loss and gradient are checked at every one
# Where a batch has no attention_mask: ORPO and CPO have two, GRPO and RLOO have one of each part.
MASKS = ("chosen_attention_mask", "rejected_attention_mask", "prompt_mask", "completion_mask")
FROZEN = "ref"  # what TRL calls that copy
TUNER_STATE = "tuner_state.safetensors"  # in a checkpoint, when the adapter's file is not enough to go on


class StudioTrainer:
    """Mixed in before a TRL trainer: see `trainer_class`. `consolidation` holds weights back, if there is one."""

    consolidation: Consolidation | None = None

    def watch(self, checkpoint_folder: Path, keep: int, tuner_options: Options) -> None:
        """Where checkpoints go, how many stay, and how the weights are tuned."""
        self.checkpoint_folder, self.checkpoints_kept = checkpoint_folder, keep
        self.tuner, self.tuner_options = TUNERS[tuner_options.name], tuner_options
        self.real_tokens = 0
        self._penalties: list[float] = []
        self._staging: Path | None = None

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows are tokenised already, by the code that the preview uses."""
        return dataset

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        """ORPO's and CPO's word for the same."""
        return feature

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """GRPO's and RLOO's: no images, nothing else to tell."""
        return prompts, None, {}

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if self.model.training:  # type: ignore[attr-defined]
            self.real_tokens += count_tokens(inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        if self.consolidation is not None:
            loss = loss + self._hold_back(self.consolidation)
        self._require_finite("loss", float(loss))
        return loss

    def _hold_back(self, consolidation: Consolidation) -> torch.Tensor:
        """Add the penalty's gradient; its own share when several batches make a step."""
        penalty = consolidation.penalty() / self.current_gradient_accumulation_steps  # type: ignore[attr-defined]
        self.accelerator.backward(penalty)  # type: ignore[attr-defined]
        self._penalties.append(float(penalty.detach()) * self.current_gradient_accumulation_steps)  # type: ignore[attr-defined]
        return penalty.detach()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if self._penalties and "loss" in logs:
            logs = {**logs, "ewc_penalty": sum(self._penalties) / len(self._penalties)}
            self._penalties = []
        super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def _clip_grad_norm(self, model: Any) -> Any:
        """Before the optimizer moves the weights: a gradient that is not finite must not reach them."""
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        self._require_finite("gradient", float(norm))
        if self.state.global_step % WEIGHTS_CHECKED_EVERY == 0:  # type: ignore[attr-defined]
            self.require_finite_weights()
        return norm

    def require_finite_weights(self) -> None:
        """Raise UserError when a trained weight is NaN or infinite."""
        for name, weight in self.model.named_parameters():  # type: ignore[attr-defined]
            if weight.requires_grad and not bool(torch.isfinite(weight).all()):
                self._require_finite(f"weight {name}", math.nan)

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise UserError(
                f"Training diverged: the {what} became {value} at step {step}.",
                "Lower the learning rate (a third of it), or look at the data around that step; "
                "the last checkpoint is from before it.",
            )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Without the frozen copy of the adapter that a job continues from: it is only measured against."""
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        shutil.rmtree(Path(output_dir or self.args.output_dir) / FROZEN, ignore_errors=True)  # type: ignore[attr-defined]

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else str(super()._get_output_dir(trial))  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """transformers writes straight into checkpoint-N; a kill within that leaves a ruin that it trusts later."""
        name = f"{checkpoints.PREFIX}{self.state.global_step}"  # type: ignore[attr-defined]
        self.require_finite_weights()

        def fill(folder: Path) -> None:
            self._staging = folder
            super(StudioTrainer, self)._save_checkpoint(model, trial)  # type: ignore[misc]
            for file in (folder / name).iterdir():
                file.rename(folder / file.name)
            (folder / name).rmdir()
            self._write_tuner_state(folder)

        try:
            checkpoints.write_complete(self.checkpoint_folder / name, fill)
        finally:
            self._staging = None
        checkpoints.rotate(self.checkpoint_folder, self.checkpoints_kept)

    def _write_tuner_state(self, folder: Path) -> None:
        if self.tuner.read_state is not None:
            state = self.tuner.read_state(self.model)  # type: ignore[attr-defined]
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / TUNER_STATE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """An adapter's file holds what the adapter does; some tuners learn by more than that."""
        state = Path(resume_from_checkpoint) / TUNER_STATE
        if self.tuner.write_state is not None and state.is_file():
            self.tuner.write_state(self.model, load_file(state))  # type: ignore[attr-defined]
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Of a share, only whole steps warm up: transformers rounds up, and the rate of the first of them is 0."""
        if self.args.warmup_steps < 1:  # type: ignore[attr-defined]
            self.args.warmup_steps = int(num_training_steps * self.args.warmup_steps)  # type: ignore[attr-defined]
        return super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The trainer's own, with the tuner's groups of weights where it has some."""
        arguments = self.args  # type: ignore[attr-defined]
        groups = self.tuner.groups(
            self.model,  # type: ignore[attr-defined]
            self.tuner_options,
            arguments.learning_rate,
            arguments.weight_decay,
        )
        if groups is None or self.optimizer is not None:  # type: ignore[has-type]
            return super().create_optimizer(model)  # type: ignore[misc, no-any-return]
        kind, options = self.get_optimizer_cls_and_kwargs(arguments, self.model)  # type: ignore[attr-defined]
        self.optimizer = kind([group for group in groups if group["params"]], **options)
        return self.optimizer  # type: ignore[return-value]


def count_tokens(inputs: dict[str, Any]) -> int:
    """Tokens of a batch without padding, whichever trainer's it is."""
    if "attention_mask" in inputs:
        return int(inputs["attention_mask"].sum())
    masks = [inputs[name] for name in MASKS if name in inputs]
    return sum(int(mask.sum()) for mask in masks) if masks else int(inputs["input_ids"].numel())


def trainer_class(base: type) -> type:
    """`base` (a TRL trainer) with the studio's behaviour."""
    return type(f"Studio{base.__name__}", (StudioTrainer, base), {})
