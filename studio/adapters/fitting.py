"""Whether an adapter's tensors fit a base model: shape against shape, from the headers of both."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from studio.adapters.configuration import Stated, is_feedforward, is_saved
from studio.adapters.tensor_file import Tensor, model_tensors
from studio.base_models import read_config
from studio.errors import UserError
from studio.methods.parameters import shape_of

PREFIX = "base_model.model."
PROMPT = "prompt_embeddings"
PART = re.compile(
    r"(?P<module>[\w.]{1,300})\.(?P<part>lora_[ABE]|lora_embedding_[AB]|lora_magnitude_vector|ia3_l|shira_weight"
    r"|shira_indices|bottleneck_(?:up|down))(?P<end>\.weight|\.bias)?"
)
PLAIN = re.compile(r"(?P<module>[\w.]{1,300})\.(?P<part>weight|bias)")
TRANSPOSED = ("gpt2", "openai-gpt")  # keep their matrices as (inputs, outputs)
MODEL_PREFIXES = ("transformer.", "model.")  # that some checkpoints leave out of the names of weights

Shape = tuple[int, ...]
Parts = dict[str, Tensor]


class BaseShapes:
    """The weights of a base model by module. Raises UserError when the folder is no whole model."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.config = read_config(folder)
        self.tensors = model_tensors(folder)
        self.transposed = self.config.get("model_type") in TRANSPOSED

    def weight(self, module: str) -> Tensor | None:
        """The weight of a module as it is kept; that of the embeddings for a head that shares it."""
        for name in _spellings(module):
            if f"{name}.weight" in self.tensors:
                return self.tensors[f"{name}.weight"]
        if module.endswith("lm_head"):
            return next((one for name, one in self.tensors.items() if name.endswith("embed_tokens.weight")), None)
        return None

    def shape(self, module: str) -> Shape | None:
        """(outputs, inputs) of a linear module, (rows, width) of an embedding; None when there is no such module."""
        tensor = self.weight(module)
        if tensor is None:
            return None
        return tensor.shape[::-1] if self.transposed and _is_linear(module) else tensor.shape


@dataclass(frozen=True)
class Layout:
    """An adapter's tensors by module: `parts[module]["lora_A"]`; `whole[module]` where the module was saved whole."""

    parts: dict[str, Parts]
    whole: dict[str, Parts]
    prompt: Tensor | None = None


def lay_out(tensors: dict[str, Tensor], stated: Stated) -> Layout:
    """Sort an adapter's tensors. Raises UserError for one that its kind does not have."""
    if stated.kind.soft_prompt:
        if set(tensors) != {PROMPT}:
            raise UserError(f"A soft prompt has one tensor, {PROMPT}; this file has others.", "Choose another file.")
        return Layout({}, {}, tensors[PROMPT])
    parts: dict[str, Parts] = {}
    whole: dict[str, Parts] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        found, plain = PART.fullmatch(name), PLAIN.fullmatch(name)
        if found and found["part"] in stated.kind.parts:
            part = found["part"] + (".bias" if found["end"] == ".bias" else "")
            parts.setdefault(found["module"], {})[part] = tensor
        elif plain and is_saved(plain["module"], stated):
            whole.setdefault(plain["module"], {})[plain["part"]] = tensor
        else:
            raise UserError(
                f"The file holds {key[:120]!r}, which a {stated.peft_type} adapter does not have.",
                "Check that adapter_config.json and adapter_model.safetensors belong together.",
            )
    if not parts:
        raise UserError("The file holds no adapter: no tensor of it changes a layer.", "Choose another file.")
    return Layout(parts, whole)


def check_fit(layout: Layout, stated: Stated, base: BaseShapes) -> None:
    """Raise UserError unless every tensor is of the shape that the base model's layers ask for; it names both."""
    if layout.prompt is not None:
        _check_prompt(layout.prompt, stated, base)
        return
    for module, parts in layout.parts.items():
        there = base.shape(module)
        if there is None:
            _misfit(f"{base.name} has no layer {module}", stated)
        wanted = implied_shape(module, parts, stated)
        if any(mine not in (None, of_base) for mine, of_base in zip(wanted, there, strict=False)) or len(there) != 2:
            shown = " × ".join("?" if mine is None else str(mine) for mine in wanted)
            _misfit(f"its {module} is made for a weight of {shown}, that of {base.name} is {_by(there)}", stated)
    for module, parts in layout.whole.items():
        there, mine = base.shape(module), parts.get("weight")
        if mine is not None and mine.shape != there:
            other = f"that of {base.name} is {_by(there)}" if there else f"{base.name} has no such layer"
            _misfit(f"its {module} is {_by(mine.shape)}, {other}", stated)


def implied_shape(module: str, parts: Parts, stated: Stated) -> tuple[int | None, int | None]:
    """(outputs, inputs) of the weight that these tensors are for, None where they say nothing. Raises UserError."""
    shapes = {name: tensor.shape for name, tensor in parts.items()}
    if {"lora_A", "lora_B"} <= set(shapes):
        return _of_lora(module, shapes, stated)
    if {"lora_embedding_A", "lora_embedding_B"} <= set(shapes):
        first, second = _matrices(module, shapes, "lora_embedding_A", "lora_embedding_B")
        return first[1], second[0]
    if "ia3_l" in shapes:
        scale = shapes["ia3_l"]
        if len(scale) == 2 and 1 in scale:
            return (None, scale[1]) if is_feedforward(module, stated) else (scale[0], None)
    if {"shira_weight", "shira_indices"} <= set(shapes) and shapes["shira_indices"] == (2, *shapes["shira_weight"]):
        return None, None
    if {"bottleneck_down", "bottleneck_up"} <= set(shapes):
        first, second = _matrices(module, shapes, "bottleneck_down", "bottleneck_up")
        biases = (shapes.get("bottleneck_down.bias"), shapes.get("bottleneck_up.bias"))
        if second[0] == first[1] and biases == ((first[0],), (second[0],)):
            return second[0], None
    raise UserError(f"The tensors of {module} do not belong together.", "Copy or download the adapter again.")


def rank_of(module: str, stated: Stated) -> int | None:
    """The rank that LoRA's settings give a module; None when they do not."""
    pattern = stated.settings.get("rank_pattern") or {}
    for ending, rank in pattern.items():
        if module == ending or module.endswith(f".{ending}"):
            return int(rank)
    return stated.settings.get("r")


def modules_named(layout: Layout, base: BaseShapes) -> list[str]:
    """What to call the changed modules: endings when every module of the base that ends so is changed, else in full."""
    changed = sorted(layout.parts)
    endings = sorted({module.rpartition(".")[2] for module in changed})
    there = {name.removesuffix(".weight").rpartition(".")[2] for name in base.tensors if name.endswith(".weight")}
    count = sum(name.removesuffix(".weight").rpartition(".")[2] in endings for name in base.tensors)
    return endings if count == len(changed) and set(endings) <= there else changed


def _of_lora(module: str, shapes: dict[str, Shape], stated: Stated) -> tuple[int, int]:
    first, second = _matrices(module, shapes, "lora_A", "lora_B")
    rank = rank_of(module, stated) if stated.peft_type == "LORA" else first[0]
    if rank is not None and first[0] != rank:
        raise UserError(
            f"adapter_config.json gives {module} the rank {rank}, its tensors have {first[0]}.",
            "Check that adapter_config.json and adapter_model.safetensors belong together.",
        )
    magnitudes = shapes.get("lora_magnitude_vector")
    expected = (second[0],) if stated.settings.get("use_dora") else None
    if magnitudes != expected or shapes.get("lora_E", (first[0], 1)) != (first[0], 1):
        raise UserError(f"The tensors of {module} do not belong together.", "Copy or download the adapter again.")
    return second[0], first[1]


def _matrices(module: str, shapes: dict[str, Shape], first: str, second: str) -> tuple[Shape, Shape]:
    """Two matrices of which the second is multiplied with the first: (r, inputs) and (outputs, r)."""
    one, two = shapes[first], shapes[second]
    if len(one) != 2 or len(two) != 2 or one[0] != two[1] or not one[0]:
        raise UserError(
            f"{first} of {module} is {_by(one)} and {second} is {_by(two)}: they cannot be multiplied.",
            "Copy or download the adapter again.",
        )
    return one, two


def _check_prompt(prompt: Tensor, stated: Stated, base: BaseShapes) -> None:
    config: dict[str, Any] = base.config
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 0)
    width = hidden
    if stated.peft_type == "PREFIX_TUNING":
        shape = shape_of(config)
        width = 2 * shape.layers * shape.kv_dim if shape else 0
    tokens = stated.settings.get("num_virtual_tokens")
    if not width or not tokens:
        raise UserError(
            f"Whether the soft prompt fits {base.name} cannot be told: its architecture is not known here.",
            "Choose another base model.",
        )
    if prompt.shape != (tokens, width):
        _misfit(f"its prompt is {_by(prompt.shape)}, and one of {tokens} tokens for {base.name} is {tokens} × {width}",
                stated)  # fmt: skip


def _misfit(reason: str, stated: Stated) -> NoReturn:
    said = f" Its file says that it was trained on {stated.says_base!r}." if stated.says_base else ""
    raise UserError(f"The adapter is for another base model: {reason}.", f"Choose the base it was trained on.{said}")


def _by(shape: Shape | None) -> str:
    return " × ".join(map(str, shape)) if shape else "a single number"


def _is_linear(module: str) -> bool:
    return module.rpartition(".")[2] not in ("wte", "wpe", "lm_head")


def _spellings(module: str) -> list[str]:
    shorter = [module.removeprefix(prefix) for prefix in MODEL_PREFIXES if module.startswith(prefix)]
    return [module, *shorter, *(prefix + module for prefix in MODEL_PREFIXES)]
