"""Sparse fine-tuning: one weight in a hundred is trained, chosen by a mask (SHiRA, arXiv 2406.13175)."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from studio.errors import UserError
from studio.methods.options import Options
from studio.methods.parameters import linear_shapes
from studio.methods.shared_fields import RANK
from studio.methods.targets import WHERE_FIELD, Where, check_where, modules
from studio.methods.tuners.contract import Config, Rows, Tuner, always

if TYPE_CHECKING:
    from peft import ShiraConfig

GRADIENT_ROWS = 16  # examples that the largest gradients are measured on
WHOLE = ("input_ids", "chosen_input_ids", "chosen_ids", "prompt")  # columns with a whole text
SCORE = "studio_gradient"  # on the weight: sum of its gradients' sizes


class ShiraOptions(Options):
    name: Literal["shira"] = "shira"
    r: int = RANK
    mask_type: Literal["random", "magnitude", "gradient"] = Field(
        default="random",
        title="Mask",
        description="Which weights learn, as many as LoRA of that rank would have. random: drawn. magnitude: the "
        "largest. gradient: those with the largest gradients on the first examples, which costs a full backward pass.",
    )
    target_modules: Where = WHERE_FIELD


def check(options: ShiraOptions, config: Config) -> None:
    """Raise UserError when the mask would be larger than a matrix, or the layers are not known or not linear."""
    check_where(options, config)
    if config.get("model_type") == "gpt2":
        raise UserError("PEFT has no sparse adapter for the Conv1D layers of GPT-2.", "Choose LoRA.")
    for name, rows, columns in linear_shapes(config) or ():
        if options.r * (rows + columns) > rows * columns:
            raise UserError(
                f"A mask of rank {options.r} has more weights than {name} ({columns} × {rows}).",
                f"Set the rank to {rows * columns // (rows + columns)} or less.",
            )


def refuses(options: ShiraOptions, quantization: str) -> str:
    if options.mask_type == "gradient":
        return "The gradient mask needs the gradients of the weights, which quantized weights do not have."
    return ""


def prepare(model: Any, options: ShiraOptions, rows: Rows) -> None:
    """For the gradient mask: leave on every linear weight how large its gradients are on the first rows."""
    if options.mask_type != "gradient":
        return
    import torch

    model.eval()
    linear = [part.weight for part in model.modules() if isinstance(part, torch.nn.Linear)]
    for row in rows[:GRADIENT_ROWS]:
        _loss(model, row).backward()
        for weight in linear:
            if weight.grad is not None:
                setattr(weight, SCORE, weight.grad.abs().float() + getattr(weight, SCORE, 0))
        model.zero_grad(set_to_none=True)
    model.train()


def _loss(model: Any, row: dict[str, Any]) -> Any:
    """What a row of any objective teaches: its labels, or its text, of a pair the one with the better answer."""
    import torch

    text = next(row[name] for name in WHOLE if name in row) if "prompt_ids" not in row else _joined(row)
    ids = torch.tensor([text], device=model.device)
    outputs = model(input_ids=ids)
    if outputs.logits.ndim == 2:  # a reward model, whose mark is to rise
        return -outputs.logits.sum()
    labels = torch.tensor([row.get("labels", text)], device=model.device)
    return torch.nn.functional.cross_entropy(outputs.logits[0, :-1].float(), labels[0, 1:])


def _joined(row: dict[str, Any]) -> list[int]:
    answer = row["chosen_ids"] if "chosen_ids" in row else row["completion_ids"]
    return [*row["prompt_ids"], *answer]


def peft_config(options: ShiraOptions, config: Config, task_type: str) -> "ShiraConfig":
    from peft import ShiraConfig

    made = ShiraConfig(r=options.r, target_modules=modules(config, options.target_modules), task_type=task_type)
    if options.mask_type != "random":
        made.mask_type = options.mask_type
        made.mask_fn = _largest if options.mask_type == "magnitude" else _steepest
    return made


def _largest(base_layer: Any, r: int, **kwargs: Any) -> Any:
    from peft.utils.integrations import dequantize_module_weight

    return _top(dequantize_module_weight(base_layer).detach().abs(), r)


def _steepest(base_layer: Any, r: int, **kwargs: Any) -> Any:
    """The weights with the largest gradients. `prepare` measured them, and they are needed no longer."""
    score = getattr(base_layer.weight, SCORE)
    delattr(base_layer.weight, SCORE)
    return _top(score, r)


def _top(score: Any, r: int) -> Any:
    """A mask of the shape of `score` (rows, columns) with its r · (rows + columns) largest entries."""
    mask = score.new_zeros(score.numel(), dtype=bool)
    mask[score.flatten().topk(r * sum(score.shape)).indices] = True
    return mask.view(score.shape)


SHIRA = Tuner(
    name="shira",
    title="Sparse fine-tuning (SHiRA)",
    summary="A few of the model's own weights are trained, chosen by a mask; the change is saved as an adapter.",
    options=ShiraOptions,
    peft_config=peft_config,
    library_class="ShiraConfig",
    refuses=refuses,
    merges=always,
    check=check,
    prepare=prepare,
)
