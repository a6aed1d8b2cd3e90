"""`python -m studio.worker.simulate`: a training step of the real model class on fake tensors, measured in bytes.

Reads {"config", "setup"} as JSON from standard input, writes the peaks as JSON. Memory is affine in depth at every
phase, so two shallow models tell the deep one's. No weights, no GPU; a size costs the same whatever it is.
"""

import contextlib
import gc
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.optimization import Adafactor

from studio.errors import UserError
from studio.memory.setup import Setup
from studio.worker import stand_ins
from studio.worker.fake_losses import LOSSES, FusedHead, learn
from studio.worker.fake_memory import FakeMemory
from studio.worker.fake_tuners import DTYPES, check, trained_model

DEPTHS = (3, 5)
IGNORED = (
    "layer_types",
    "max_window_layers",
    "auto_map",
    "quantization_config",
    "architectures",
    "transformers_version",
)


def simulate(config: dict[str, Any], setup: Setup) -> dict[str, Any]:
    """Peak bytes by phase at the model's own depth, what lies in memory then, and the phase that binds.
    Raises UserError for what cannot be simulated."""
    check(setup)
    layers = int(config.get("num_hidden_layers") or config["n_layer"])
    more = int(setup.options.get("trained_layers", 2)) if setup.tuner == "partial" else 0
    depths = (DEPTHS[0] + more, DEPTHS[1] + more)
    depths = depths if layers > depths[1] else (layers, layers)
    runs = [run_step(config, setup, depth) for depth in dict.fromkeys(depths)]
    phases, shares = {}, {}
    for name in {name: None for run in runs for name in run.peaks}:
        phases[name] = _at(layers, depths, [run.peaks.get(name, 0) for run in runs])
        found = [run.shares.get(name, {}) for run in runs]
        keys = {key for one in found for key in one}
        shares[name] = {key: _at(layers, depths, [one.get(key, 0) for one in found]) for key in keys}
    binding = max(phases, key=lambda name: phases[name])
    return {
        "allocated": phases[binding],
        "phase": binding,
        "phases": phases,
        "parts": shares[binding],
        "stacks": shares,
    }


def _at(layers: int, depths: tuple[int, int], values: list[int]) -> int:
    if len(values) == 1:
        return values[0]
    slope = (values[1] - values[0]) / (depths[1] - depths[0])
    return round(values[0] + slope * (layers - depths[0]))


def run_step(config: dict[str, Any], setup: Setup, depth: int) -> FakeMemory:
    """Two steps of a model of `depth` layers: from the second on the optimizer has states."""
    memory = FakeMemory()
    gc.disable()
    try:
        with _cuda_like(), FakeTensorMode(allow_non_fake_inputs=False):
            _train(build_model(config, setup, depth), setup, memory, config, depth)
    finally:
        gc.enable()
    return memory


@contextlib.contextmanager
def _cuda_like() -> Iterator[None]:
    """Dropout as CUDA's, and conversions that fake tensors allow; both hold in the whole process."""
    before = nn.functional.dropout, nn.Module._apply
    nn.functional.dropout, nn.Module._apply = stand_ins.dropout, stand_ins.convert  # type: ignore[assignment]
    try:
        yield
    finally:
        nn.functional.dropout, nn.Module._apply = before  # type: ignore[method-assign]


def build_model(config: dict[str, Any], setup: Setup, depth: int) -> PreTrainedModel:
    """The model class of `config` without weights, with attention that behaves as CUDA's."""
    padded = setup.padded or setup.tuner in ("prefix_tuning", "p_tuning_v2")
    ALL_ATTENTION_FUNCTIONS.register("stand_in", stand_ins.attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(
        "stand_in", lambda *_, **__: torch.empty(1, dtype=torch.bool) if padded else None
    )
    values = {key: value for key, value in config.items() if key not in (*IGNORED, "model_type")}
    values |= {"num_hidden_layers": depth, "use_cache": False}
    if setup.objective == "reward":
        values |= {"num_labels": 1, "pad_token_id": 0}
    shaped = CONFIG_MAPPING[config["model_type"]](**values)
    shaped._attn_implementation = "eager" if setup.attention == "eager" else "stand_in"
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[setup.dtype])
    try:
        kind: Any = AutoModelForSequenceClassification if setup.objective == "reward" else AutoModelForCausalLM
        with no_init_weights():
            model = kind.from_config(shaped, trust_remote_code=False, attn_implementation=shaped._attn_implementation)
        if shaped.get_text_config().tie_word_embeddings and model.get_output_embeddings() is not None:
            model.get_output_embeddings().weight = model.get_input_embeddings().weight
    finally:
        torch.set_default_dtype(before)
    return model  # type: ignore[no-any-return]


def _train(base: PreTrainedModel, setup: Setup, memory: FakeMemory, config: dict[str, Any], depth: int) -> None:
    model = trained_model(base, setup)
    _fuse(base, setup)
    if setup.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if not setup.trains_weights:
            base.enable_input_require_grads()
    model.train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    reference = None
    if setup.copies_reference:
        reference = build_model(config, setup, depth).eval().requires_grad_(False)
        _fuse(reference, setup)
    _count(memory, [model, *([reference] if reference else [])], setup)
    optimizer = _optimizer(setup, learned, base)
    _follow_backward(base, memory)
    with memory:
        for _ in range(2):
            for _ in range(setup.accumulation):
                learn(model, reference, setup, memory)
            _step(optimizer, learned, memory)


def _fuse(model: PreTrainedModel, setup: Setup) -> None:
    if setup.loss == "fused" and setup.objective not in LOSSES:
        model.set_output_embeddings(FusedHead(model.get_output_embeddings()))


def _step(optimizer: torch.optim.Optimizer, learned: list[nn.Parameter], memory: FakeMemory) -> None:
    memory.phase = "clipping"
    torch.nn.utils.clip_grad_norm_(learned, 1.0, foreach=True)
    memory.phase = "optimizer"
    optimizer.step()
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                memory.tag(value, "optimizer")
    optimizer.zero_grad(set_to_none=True)


def _count(memory: FakeMemory, models: list[Any], setup: Setup) -> None:
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            memory.tag(tensor, "adapter" if tensor.requires_grad and not setup.trains_weights else "weights")
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda one: memory.tag(one.grad, "gradients"))


def _optimizer(setup: Setup, learned: list[nn.Parameter], base: PreTrainedModel) -> torch.optim.Optimizer:
    if setup.optim in ("sgd", "paged_adamw_8bit", "paged_adamw_32bit"):  # paged states lie in main memory
        return torch.optim.SGD(learned, lr=1e-4)
    if setup.optim == "adafactor":  # as Trainer makes it
        return Adafactor(learned, lr=1e-4, scale_parameter=False, relative_step=False)
    if setup.optim == "adamw_8bit":
        return stand_ins.EightBitAdam(learned, base.get_input_embeddings().weight)
    fused = setup.optim == "adamw_torch_fused"
    return torch.optim.AdamW(learned, lr=1e-4, fused=fused or None, foreach=None if fused else True)


def _follow_backward(base: PreTrainedModel, memory: FakeMemory) -> None:
    """Tell the phase by which layer's output the gradient has reached: each of them is affine in depth."""
    layers = next(m for m in base.modules() if isinstance(m, nn.ModuleList) and len(m) == base.config.num_hidden_layers)

    def mark(module: nn.Module, phase: str) -> None:
        def on_forward(_: nn.Module, __: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if tensor.requires_grad:
                tensor.register_hook(lambda _: setattr(memory, "phase", phase))

        module.register_forward_hook(on_forward)

    mark(base.get_input_embeddings(), "backward_embeddings")
    mark(layers[0], "backward_first")
    if len(layers) > 2:
        mark(layers[-2], "backward_middle")
    mark(layers[-1], "backward_last")


def main() -> None:
    """Answer one question; what the user can fix is an answer too. Raises everything else."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    question = json.load(sys.stdin)
    setup = {**question["setup"], "modules_to_save": tuple(question["setup"]["modules_to_save"])}
    try:
        answer = simulate(question["config"], Setup(**setup))
    except UserError as error:
        answer = {"error": {"message": error.message, "hint": error.hint}}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
