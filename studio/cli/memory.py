"""How much memory a training takes, before it starts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from studio.cli.output import AsJson, show
from studio.errors import UserError
from studio.jobs.memory_plan import read_measured
from studio.memory import gpus, models, simulation
from studio.memory.answer import answer
from studio.memory.calibration import fit, speed_factor
from studio.memory.estimate import Box
from studio.memory.setup import DTYPE_WORDS, Setup
from studio.memory.shapes import Config, UnknownArchitecture, read_shape
from studio.settings import read_settings
from studio.workspace import Workspace

GIB = 1024**3
LORA_LIKE = ("lora", "adalora", "shira")


def memory(
    model: Annotated[str, typer.Option(help="Base model: a well-known one, a Hub id, a folder, or starter.")] = "",
    config: Annotated[Path | None, typer.Option(help="A model's config.json instead.")] = None,
    tuner: Annotated[str, typer.Option(help="How much of the model learns: lora, full, ia3 …")] = "lora",
    r: Annotated[int, typer.Option(help="Rank of LoRA.")] = 8,
    targets: Annotated[str, typer.Option(help="Where: all-linear, attention, q_v, or q_proj,k_proj …")] = "all-linear",
    dropout: Annotated[float, typer.Option(help="LoRA's dropout.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Examples at once on a card.")] = 1,
    length: Annotated[int, typer.Option(help="Tokens of the longest example.")] = 1024,
    quantization: Annotated[str, typer.Option(help="none, int8 or nf4.")] = "none",
    double_quant: Annotated[bool, typer.Option(help="Quantize NF4's scales as well.")] = True,
    objective: Annotated[str, typer.Option(help="sft, dpo, kto …")] = "sft",
    reference: Annotated[str, typer.Option(help="DPO's reference: adapter, model or precomputed.")] = "adapter",
    optimizer: Annotated[str, typer.Option(help="The optimizer, by Trainer's name.")] = "adamw_torch",
    dtype: Annotated[str, typer.Option(help="Of the weights: bf16, fp16 or fp32.")] = "bf16",
    autocast: Annotated[bool | None, typer.Option(help="16-bit arithmetic; off for a 16-bit full loss.")] = None,
    adapter_dtype: Annotated[str, typer.Option(help="Of the adapter, when not what the libraries take.")] = "",
    checkpointing: Annotated[bool, typer.Option(help="Gradient checkpointing.")] = True,
    accumulation: Annotated[int, typer.Option(help="Batches a step.")] = 1,
    loss: Annotated[str, typer.Option(help="fused (TRL), full (transformers' logits) or liger.")] = "",
    logit_bytes: Annotated[float | None, typer.Option(help="Bytes a logit of a full loss; 12 from 4.51 on.")] = None,
    supervised_share: Annotated[float, typer.Option(help="Share of the tokens that have a label.")] = 1.0,
    attention: Annotated[str, typer.Option(help="sdpa or eager.")] = "sdpa",
    padded: Annotated[bool | None, typer.Option(help="Batches hold padding; on for a full loss of several.")] = None,
    modules_to_save: Annotated[str, typer.Option(help="Tables trained beside an adapter: embed_tokens,lm_head")] = "",
    float32_rest: Annotated[bool, typer.Option(help="After prepare_model_for_kbit_training.")] = False,
    keep_outputs: Annotated[bool, typer.Option(help="A loop that keeps the last step's logits.")] = False,
    option: Annotated[list[str] | None, typer.Option("--set", help="Another option of the tuner: key=value.")] = None,
    reward_model: Annotated[bool, typer.Option(help="rloo, grpo, ppo: rewards come from a model.")] = False,
    value_model: Annotated[bool, typer.Option(help="ppo: a value model that learns, not a head.")] = False,
    cards: Annotated[int, typer.Option(help="Number of cards.")] = 1,
    sharding: Annotated[str, typer.Option(help="none, ddp, zero2, zero3 or fsdp.")] = "none",
    steps: Annotated[int, typer.Option(min=0, help="Optimizer steps planned: how long they take on the card.")] = 0,
    gpu: Annotated[str, typer.Option(help='Card, such as "RTX 4090", or a size such as "24 GiB".')] = "",
    simulate: Annotated[bool, typer.Option(help="Run the model class without weights, and compare.")] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate the memory of a training: what it takes, when it peaks, whether it fits on a card."""
    loss, dtype = loss or ("fused" if logit_bytes is None else "full"), DTYPE_WORDS.get(dtype, dtype)
    autocast, padded = _loop(loss, dtype, batch, autocast, padded, float32_rest)
    setup = Setup(
        options=_tuner_options(tuner, r, targets, dropout, option or []), modules_to_save=_names(modules_to_save),
        adapter_dtype=DTYPE_WORDS.get(adapter_dtype, adapter_dtype), supervised_share=supervised_share, optim=optimizer,
        logit_bytes=12.0 if logit_bytes is None else logit_bytes, float32_rest=float32_rest, value_model=value_model,
        quantization=quantization, double_quant=double_quant, accumulation=accumulation, dtype=dtype, loss=loss,
        keep_outputs=keep_outputs, reward_model=reward_model, objective=objective, reference=reference, length=length,
        attention=attention, autocast=autocast, sharding=sharding, padded=padded, tuner=tuner, batch=batch, cards=cards,
        checkpointing=checkpointing,
    )  # fmt: skip
    _show(_answer(_config(model, config), setup, gpu, steps, simulate=simulate), setup, as_json=as_json)


def _show(found: dict[str, Any], setup: Setup, *, as_json: bool) -> None:
    show(found, as_json, lambda: words(found, setup))


def _loop(
    loss: str, dtype: str, batch: int, autocast: bool | None, padded: bool | None, float32_rest: bool
) -> tuple[bool, bool]:
    """(autocast, padded) as said, or where nobody said. A full loss is the plain Trainer's or a hand-written loop's:
    its 16-bit weights run without bf16=True, and its collator pads. TRL, which this studio trains with, has bf16=True.
    """
    if loss == "full" and autocast is None and padded is None and not float32_rest:
        return dtype == "float32", batch > 1
    return autocast is not False, bool(padded)


def _answer(config: Config, setup: Setup, gpu: str, steps: int, *, simulate: bool) -> dict[str, Any]:
    card = gpus.find(gpu) if gpu else next(iter(gpus.of_this_box()), None)
    box, pace = _learned(card)
    found = _simulated(config, setup, card, box) if simulate else answer(setup, read_shape(config), card, box, pace)
    return found | {"seconds": steps * (found["seconds_per_step"] or 0.0) or None}


def _learned(card: gpus.Card | None) -> tuple[Box, float]:
    """What the finished jobs of this workspace taught of a card: its memory, and its speed over the predicted one."""
    if card is None:
        return Box(), 1.0
    measured = read_measured(Workspace(read_settings().workspace))
    return fit(measured, card.name), speed_factor(measured, card.name)[0]


def _simulated(config: Config, setup: Setup, card: gpus.Card | None, box: Box) -> dict[str, Any]:
    """The estimate with what the simulation says; for an architecture that no formula knows, that alone."""
    found = simulation.simulate(config, setup)
    try:
        shape = read_shape(config)
    except UnknownArchitecture:
        return simulation.alone(found, setup, card)
    values = answer(setup, shape, card, box)
    return simulation.merge(values, simulation.compare(found, values["allocated"]), setup, card, box)


def _config(model: str, config: Path | None) -> Config:
    if bool(model) == (config is not None):
        raise UserError("Give --model or --config.", "Such as --model mistralai/Mistral-7B-v0.1.")
    if config is not None:
        return models.read_config_file(config)
    settings = read_settings()
    return models.config_of(model, Workspace(settings.workspace).models, hub_timeout=settings.hub_timeout)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _targets(text: str) -> str | tuple[str, ...]:
    names = _names(text)
    return names[0] if len(names) == 1 and not names[0].endswith("_proj") else names


def _tuner_options(tuner: str, r: int, targets: str, dropout: float, others: list[str]) -> dict[str, Any]:
    own: dict[str, Any] = {"r": r, "lora_dropout": dropout, "target_modules": _targets(targets)}
    return {**(own if tuner in LORA_LIKE else {}), **_options(others)}


def _options(pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair} has no value.", "Write --set key=value.")
        lowered = value.lower()
        found[key] = lowered == "true" if lowered in ("true", "false") else int(value) if value.isdigit() else value
    return found


def words(values: dict[str, Any], setup: Setup) -> str:
    """The estimate for people, in GiB."""
    lines: list[str] = [f"{name.ljust(12)} {_gib(values['parts'][name])}" for name in values["parts"]]
    lines += [
        "",
        f"allocated    {_gib(values['allocated'])}   peak of phase {values['phase']}",
        f"needed       {_gib(values['needed'])}   on a card, context and slack included",
        f"nvidia-smi   {_gib(values['nvidia_smi'])}   may be shown",
    ]
    if "simulation" in values:
        lines += [_simulation_words(values["simulation"])]
    if values["trainable_parameters"] is not None:
        lines += [f"trainable    {values['trainable_parameters']:,} of {values['parameters']:,} weights"]
    if values["card"] and values["max_batch"] is None:
        lines += [f"{values['card']}: {'fits' if values['fits'] else 'does not fit'}"]
    elif values["card"]:
        verb = "fits, with" if values["fits"] else "does not fit: lacks"
        lines += [
            f"{values['card']}: {verb} {_gib(abs(values['margin'])).strip()}; largest batch at {setup.length} tokens "
            f"{values['max_batch']}, longest sequence at batch {setup.batch} {values['max_length']} tokens"
        ]
    if values["tokens_per_second"]:
        lines += [_speed_words(values)]
    return "\n".join(lines)


def _speed_words(values: dict[str, Any]) -> str:
    speed, step = values["tokens_per_second"], values["seconds_per_step"]
    line = f"speed        about {speed:,.0f} tokens a second, {step:.2g} s a step"
    if not values.get("seconds"):
        return line
    hours = values["seconds"] / 3600
    return f"{line}; all steps about {f'{hours:.1f} h' if hours >= 1 else f'{60 * hours:.0f} min'}"


def _simulation_words(found: dict[str, Any]) -> str:
    line = f"simulated    {_gib(found['allocated'])}   peak of phase {found['phase']}"
    if found["difference"] is None:
        return line
    return f"{line}; the formula says {found['difference']:+.1%}, so the {found['believed']} is shown"


def _gib(value: float) -> str:
    return f"{value / GIB:8.2f} GiB"
