"""TRL's trainers with what a studio needs: our tokens, real throughput, no silent NaN, whole checkpoints."""

import math
from pathlib import Path
from typing import Any

import torch

from studio.errors import UserError
from studio.worker import checkpoints

WEIGHTS_CHECKED_EVERY = 50  # steps; loss and gradient are checked at every one


class StudioTrainer:
    """Mixed in before a TRL trainer: see `trainer_class`."""

    def watch(self, checkpoint_folder: Path, keep: int) -> None:
        """Where checkpoints go, and how many stay."""
        self.checkpoint_folder, self.checkpoints_kept = checkpoint_folder, keep
        self.real_tokens = 0
        self._staging: Path | None = None

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows are tokenised already, by the code that the preview uses."""
        return dataset

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        mask = inputs.get("attention_mask")
        self.real_tokens += int(mask.sum() if mask is not None else inputs["input_ids"].numel())
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        self._require_finite("loss", float(loss))
        return loss

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

        try:
            checkpoints.write_complete(self.checkpoint_folder / name, fill)
        finally:
            self._staging = None
        checkpoints.rotate(self.checkpoint_folder, self.checkpoints_kept)


def trainer_class(base: type) -> type:
    """`base` (a TRL trainer) with the studio's behaviour."""
    return type(f"Studio{base.__name__}", (StudioTrainer, base), {})
