"""One merge from its folder to its result: several adapters → one, or a whole model."""

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.events import EventWriter, Finished, Progress, Warned
from studio.jobs.merge_sources import CONFIG, PAIRS, WEIGHTS, Source, split_key
from studio.jobs.merging import check_merge, result_options, result_rank
from studio.jobs.spec import MergeSpec
from studio.worker import checkpoints
from studio.worker.card_memory import peak_memory
from studio.worker.merge_arithmetic import (
    Factors,
    Update,
    merge_layer,
    merge_vectors,
    squared_distance,
    squared_norm,
    stack,
)
from studio.worker.merge_base import find_base, merge_into_base
from studio.worker.stop import StopSwitch
from studio.workspace import Workspace, write_json

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "*.jinja", "vocab.*", "merges.txt")
NARROWED = ("layers_to_transform", "layers_pattern", "exclude_modules")  # options that leave layers out
ENDINGS = {part: ending for ending, part in PAIRS.items() if "embedding" not in ending}
TELL_EVERY = 2.0  # seconds
Tensors = dict[str, torch.Tensor]
Tell = Callable[[str, float], None]  # (what is done now, how much of the whole is done)


def run(folder: Path, spec: MergeSpec, events: EventWriter, switch: StopSwitch) -> None:
    """Merge, save and say so. Raises UserError for what the user can fix. A stop ends it at once: nothing is kept."""
    workspace = Workspace(folder.parent.parent)
    began = time.monotonic()
    events.write(Progress(phase="checking the adapters"))
    sources = check_merge(spec, workspace)
    for source in sources:
        checkpoints.verify(source.folder)
        if spec.into_base and source.quantization != "none":
            events.write(Warned(message=quantized_sentence(source)))
    origin = origin_of(folder.name, spec, sources)
    values: dict[str, float] = {}
    if spec.into_base:
        result, size = _whole_model(folder, spec, sources, origin, events, values)
    else:
        result = folder / names.ADAPTER
        tell = _telling(events)
        size = checkpoints.write_complete(result, lambda staging: fill(staging, spec, sources, origin, tell, values))
    switch.patient = True  # the result is there: a stop has nothing to end any more
    events.write(
        Finished(
            step=0,
            seconds=round(time.monotonic() - began, 1),
            result=result.name,
            result_bytes=size,
            peak_memory_bytes=peak_memory(),
            values=values,
        )
    )


def _telling(events: EventWriter, *, begin: float = 0.0, end: float = 1.0) -> Tell:
    """Tells the progress of a part of the work, from `begin` to `end` of the whole."""

    def tell(phase: str, share: float) -> None:
        events.write(Progress(phase=phase, share=round(begin + (end - begin) * share, 3)))

    return tell


def quantized_sentence(source: Source) -> str:
    """What to know about an adapter that learned beside a quantized base."""
    return (
        f"{source.name} learned beside the base model in {source.quantization}; it is merged into the base model as it "
        "is kept on disk, which is the better one: answers may differ a little."
    )


def origin_of(job: str, spec: MergeSpec, sources: Sequence[Source]) -> dict[str, Any]:
    """What the result says of itself: what every adapter does, and what it was made of."""
    first = sources[0].origin
    return {
        "job": job,
        "base_model": spec.base_model,
        "base_fingerprint": first["base_fingerprint"],
        "chat_template": spec.chat_template,
        "dataset_sha256": "",
        "objective": spec.objective,
        "tuner": spec.tuner,
        "tuner_options": {"name": "full"} if spec.into_base else result_options(sources, result_rank(spec, sources)),
        "merge": {
            "method": spec.method.model_dump(),
            "sources": [source.model_dump() for source in spec.sources],
            "sha256": [_hash_of(source) for source in sources],
        },
    }


def fill(
    staging: Path,
    spec: MergeSpec,
    sources: Sequence[Source],
    origin: dict[str, Any],
    tell: Tell,
    values: dict[str, float],
) -> None:
    """Write the merged adapter into an empty folder, and its figures into `values`."""
    tell("merging", 0.0)
    torch.manual_seed(spec.seed)
    rank = result_rank(spec, sources)
    found: dict[str, float] = {}
    if sources[0].kind == "IA3":
        tensors = merged_vectors(spec, sources)
    else:
        tensors, found = merged_matrices(spec, sources, rank, tell)
    broken = next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise UserError(f"The merge is not a number in {broken}.", "One of the adapters is broken: leave it out.")
    values |= found
    save_file(tensors, staging / WEIGHTS, metadata={"format": "pt"})
    write_json(staging / CONFIG, result_config(sources, rank))
    copy_tokenizer(sources[0].folder, staging)
    write_json(staging / names.ORIGIN, origin)


def merged_matrices(
    spec: MergeSpec, sources: Sequence[Source], rank: int, tell: Tell
) -> tuple[Tensors, dict[str, float]]:
    """(the tensors of the merged LoRA adapter, its figures)."""
    count = len({module for source in sources for module in source.shapes_cached})
    told = time.monotonic()
    tensors: Tensors = {}
    squares = dict.fromkeys(("norm_merged", "norm_sum", "deviation"), 0.0)
    for module, endings, updates in layers(spec, sources):
        merged = merge_layer(updates, spec.method, rank)
        for part, tensor in zip("AB", merged, strict=True):
            tensors[f"{module}.{endings[part]}"] = tensor.contiguous()
        for name, square in _squares(merged, stack(updates)).items():
            squares[name] += square
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            merged_so_far = len(tensors) // 2
            tell(f"merging: {merged_so_far} of {count} layers", merged_so_far / count)
    figures = {name: math.sqrt(max(0.0, square)) for name, square in squares.items()}
    figures["deviation"] = figures["deviation"] / figures["norm_sum"] if figures["norm_sum"] else 0.0
    return tensors, {**figures, "rank": float(rank)}


def _squares(merged: Factors, summed: Factors) -> dict[str, float]:
    return {
        "norm_merged": squared_norm(merged),
        "norm_sum": squared_norm(summed),
        "deviation": squared_distance(merged, summed),
    }


def layers(spec: MergeSpec, sources: Sequence[Source]) -> Iterator[tuple[str, dict[str, str], list[Update]]]:
    """(module, the endings of its tensors, the updates of those adapters that have it), in the order of their names."""
    files = [safe_open(source.weights, framework="pt") for source in sources]
    names_of = [_names(source) for source in sources]
    for module in sorted({module for found in names_of for module in found}):
        updates, endings = [], ENDINGS
        for source, wish, file, found in zip(sources, spec.sources, files, names_of, strict=True):
            if module not in found:
                continue
            endings = {part: key.removeprefix(f"{module}.") for part, key in found[module].items()}
            a, b = (file.get_tensor(found[module][part]).float() for part in "AB")
            updates.append(Update(a, b, source.scaling(module), wish.weight))
        yield module, endings, updates


def merged_vectors(spec: MergeSpec, sources: Sequence[Source]) -> Tensors:
    """The tensors of the merged (IA)³ adapter."""
    files = [safe_open(source.weights, framework="pt") for source in sources]
    tensors = {}
    for key in sorted({key for source in sources for key in source.header}):
        found = [
            (file.get_tensor(key).float(), wish.weight)
            for source, wish, file in zip(sources, spec.sources, files, strict=True)
            if key in source.header
        ]
        tensors[key] = merge_vectors([one for one, _ in found], [weight for _, weight in found]).contiguous()
    return tensors


def result_config(sources: Sequence[Source], rank: int) -> dict[str, Any]:
    """adapter_config.json of the result: the first one's, without what the merge has settled.

    PEFT's own merge keeps rsLoRA switched on, which multiplies the result by √r once more.
    """
    config = {**sources[0].config, "target_modules": _targets(sources, "target_modules"), "inference_mode": True}
    if sources[0].kind == "IA3":
        return {**config, "feedforward_modules": _targets(sources, "feedforward_modules"), "init_ia3_weights": True}
    settled = {"use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": True}
    where = dict.fromkeys(NARROWED)
    return {**config, **settled, **where, "r": rank, "lora_alpha": rank, "lora_dropout": 0.0}


def _targets(sources: Sequence[Source], key: str) -> list[str]:
    """The layers of all adapters together: by the ends of their names where each is meant everywhere, else in full."""
    lists = [source.config.get(key) for source in sources]
    narrowed = any(source.config.get(name) for source in sources for name in NARROWED)
    if all(isinstance(one, list) for one in lists) and not narrowed:
        return sorted({name for one in lists if one for name in one})
    prefix = "base_model.model."
    return sorted({module.removeprefix(prefix) for source in sources for module in source.shapes_cached})


def copy_tokenizer(folder: Path, staging: Path) -> None:
    """The tokenizer, with chat template, that the first adapter was trained with."""
    for pattern in TOKENIZER:
        for file in sorted(folder.glob(pattern)):
            shutil.copyfile(file, staging / file.name)


def _whole_model(
    folder: Path,
    spec: MergeSpec,
    sources: Sequence[Source],
    origin: dict[str, Any],
    events: EventWriter,
    values: dict[str, float],
) -> tuple[Path, int]:
    """(the folder of the whole model, its bytes)."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".merged-") as place:
        adapter, begun = sources[0].folder, 0.0
        if len(sources) > 1 or spec.sources[0].weight != 1:
            adapter, begun = Path(place), 0.5
            fill(adapter, spec, sources, origin, _telling(events, end=begun), values)

        base, dtype = find_base(spec, sources[0], Workspace(folder.parent.parent))
        tell, phase = _telling(events, begin=begun), f"merging into the base model in {dtype}"
        tell(phase, 0.0)

        def write(staging: Path) -> None:
            merge_into_base(staging, spec, base, dtype, adapter, lambda share: tell(phase, share))
            copy_tokenizer(sources[0].folder, staging)
            write_json(staging / names.ORIGIN, {**origin, "dtype": dtype})

        result = folder / names.MODEL
        return result, checkpoints.write_complete(result, write)


def _names(source: Source) -> dict[str, dict[str, str]]:
    """{module: {"A": tensor, "B": tensor}}"""
    found: dict[str, dict[str, str]] = {}
    for key in source.header:
        module, part = split_key(key)
        found.setdefault(module, {})[part] = key
    return found


def _hash_of(source: Source) -> str:
    """What the manifest says of the adapter's weights: which state of it went in."""
    manifest = json.loads((source.folder / names.MANIFEST).read_text(encoding="utf-8"))
    return str(manifest["files"][WEIGHTS]["sha256"])
