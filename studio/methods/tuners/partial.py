"""Partial fine-tuning: the last layers learn, the rest of the model is frozen."""

from typing import Any, Literal

from pydantic import Field

from studio.errors import UserError
from studio.methods.options import Options
from studio.methods.tuners.contract import Config, Rows, Tuner


class PartialOptions(Options):
    name: Literal["partial"] = "partial"
    trained_layers: int = Field(
        default=2,
        ge=1,
        le=1000,
        title="Trained layers",
        description="How many decoder layers learn, counted from the last one.",
    )
    train_norm: bool = Field(
        default=True,
        title="Final norm",
        description="Train the normalisation between the last layer and the output head as well.",
    )
    train_head: bool = Field(
        default=False,
        title="Output head",
        description="Train the output head. Where it shares its weights with the embeddings, those change with it.",
    )
    train_embeddings: bool = Field(
        default=False,
        title="Embeddings",
        description="Train the token embeddings: for new words and languages; a large part of a small model.",
    )


def check(options: PartialOptions, config: Config) -> None:
    """Raise UserError when the model has fewer layers."""
    text = config.get("text_config") or config
    layers = int(text.get("num_hidden_layers") or text.get("n_layer") or 0)
    if 0 < layers < options.trained_layers:
        raise UserError(
            f"The model has {layers} decoder layers; {options.trained_layers} are to be trained.",
            f"Set trained layers to {layers} or less.",
        )


def prepare(model: Any, options: PartialOptions, rows: Rows) -> None:
    """Freeze everything, then let the chosen parts learn. A head that the objective adds learns in any case."""
    model.requires_grad_(False)
    backbone, head = model.base_model, model.get_output_embeddings()
    chosen = [*_decoder_layers(model)[-options.trained_layers :]]
    if options.train_norm:
        chosen += [part for part in backbone.children() if "Norm" in type(part).__name__]
    if options.train_embeddings:
        chosen.append(model.get_input_embeddings())
    if options.train_head and head is not None:
        chosen.append(head)
    chosen += [part for part in model.children() if part is not backbone and part is not head]
    for part in chosen:
        part.requires_grad_(True)


def _decoder_layers(model: Any) -> Any:
    """The list of decoder layers, found by its length: every architecture calls it otherwise."""
    wanted = model.config.get_text_config().num_hidden_layers
    for part in model.base_model.modules():
        if type(part).__name__ == "ModuleList" and len(part) == wanted:
            return part
    raise UserError(
        f"The decoder layers of {model.config.model_type} cannot be found.", "Choose full fine-tuning, or LoRA."
    )


def refuses(options: PartialOptions, quantization: str) -> str:
    return f"Partial fine-tuning cannot change weights that are kept in {4 if quantization == 'nf4' else 8} bits."


PARTIAL = Tuner(
    name="partial",
    title="Partial fine-tuning",
    summary="The last layers are trained and the others frozen: less memory than full; the result is a whole model.",
    options=PartialOptions,
    peft_config=None,
    library_class="",
    own_options=("trained_layers", "train_norm", "train_head", "train_embeddings"),
    whole_model=True,
    refuses=refuses,
    check=check,
    prepare=prepare,
)
