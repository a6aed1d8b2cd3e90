"""A merge is planned and refused here, before anything starts: what goes together, and what the result will be."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from studio.base_models import fingerprint, model_folder, read_config, read_facts
from studio.errors import UserError
from studio.jobs.merge_sources import TUNER_OF, Source, read_source, split_key
from studio.jobs.preflight import allowed_roots, check_disk
from studio.jobs.spec import MergeSpec, checked
from studio.methods.merging import MERGE_METHODS
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.settings import Settings
from studio.workspace import Workspace

PLAIN_NAME = re.compile(r"[\w.-]+")
LARGEST_RANK = 1024
# What PEFT can do beside A and B, which would be lost in a sum of A and B; by the option that switches it on.
NOT_A_SUM = {
    "use_dora": "keeps the lengths of the weights apart (DoRA), and lengths do not add up",
    "lora_bias": "has biases of its own",
    "modules_to_save": "holds whole layers as well, which have no common beginning to add to",
    "trainable_token_indices": "holds embeddings of single tokens as well",
    "target_parameters": "changes weights that are not in layers",
    "layer_replication": "repeats layers of the base model",
    "alora_invocation_tokens": "works for a part of the text only",
    "use_qalora": "adds up its inputs before it works",
    "arrow_config": "chooses among adapters by the text",
}


def plan_merge(values: Mapping[str, Any], workspace: Workspace) -> MergeSpec:
    """The spec of a merge: `values` holds what is chosen (name, sources, method …), the rest is read from the adapters.

    Raises UserError naming what does not go together, and what would.
    """
    noted = {"base_model": "?", "objective": "?", "tuner": "?", "chat_template": "model"}
    wish = checked(MergeSpec, {**values, **noted})
    first, *_ = check_merge(wish, workspace)
    tuner = "full" if wish.into_base else first.tuner
    return checked(
        MergeSpec,
        {
            **values,
            "base_model": first.origin["base_model"],
            "objective": first.origin["objective"],
            "tuner": tuner,
            "chat_template": first.origin["chat_template"],
        },
    )


def check_merge(spec: MergeSpec, workspace: Workspace) -> list[Source]:
    """The adapters of a merge, in their order. Raises UserError when they do not go together."""
    check_choice(spec)
    sources = [read_source(source.adapter, workspace) for source in spec.sources]
    check_same_base(sources)
    if len(sources) == 1 and spec.sources[0].weight == 1:
        check_mergeable(sources[0])
        return sources
    for source in sources:
        check_sum(source, spec)
    check_sizes(sources)
    check_ranks(spec, sources)
    return sources


def check_start(spec: MergeSpec, workspace: Workspace, settings: Settings) -> None:
    """Return when a merge can start. Raises UserError."""
    sources = check_merge(spec, workspace)
    if not spec.into_base:
        check_disk(2 * sum(source.weights.stat().st_size for source in sources), workspace)
        return
    folder = model_folder(spec.base_model, workspace.models, allowed_roots(workspace, settings))
    if folder is None:
        raise UserError(
            f"{spec.base_model} is not on this machine: there is nothing to merge into.",
            "Start a job with it, which fetches it, or make an adapter instead.",
        )
    if "quantization_config" in read_config(folder):
        raise UserError(
            f"The weights of {spec.base_model} are quantized: an update would be rounded away in them.",
            "Merge the adapters into one adapter instead.",
        )
    if fingerprint(folder) != sources[0].origin["base_fingerprint"]:
        raise UserError(
            f"{spec.base_model} is not the model any more that {spec.sources[0].adapter} was trained on.",
            "Restore the base model's files.",
        )
    bytes_each = 4 if spec.dtype in ("auto", "float32") else 2
    check_disk(read_facts(spec.base_model, folder).parameters * bytes_each, workspace)


def check_choice(spec: MergeSpec) -> None:
    """Raise UserError when too few adapters are named, one twice, or one that would not count."""
    adapters = [source.adapter for source in spec.sources]
    if len(adapters) < 2 and not spec.into_base:
        raise UserError("One adapter alone is merged already.", "Choose a second one, or merge it into the base model.")
    twice = {name for name in adapters if adapters.count(name) > 1}
    if twice:
        raise UserError(f"{twice.pop()} is named twice.", "Name it once, with the sum of its weights.")
    idle = [source.adapter for source in spec.sources if source.weight == 0]
    if idle:
        raise UserError(
            f"{idle[0]} has the weight 0: it would not be in the result.", "Raise its weight or leave it out."
        )


def check_same_base(sources: Sequence[Source]) -> None:
    """Raise UserError unless all adapters are for one base model, speak one chat template, and do one kind of thing."""
    first, *others = sources
    for other in others:
        if other.origin["base_fingerprint"] != first.origin["base_fingerprint"]:
            raise UserError(
                f"{first.name} is for {first.origin['base_model']}, {other.name} for {other.origin['base_model']}: "
                "these are different base models.",
                "Choose adapters of one base model.",
            )
        if other.origin["chat_template"] != first.origin["chat_template"]:
            raise UserError(
                f"{first.name} was trained with the chat template {first.origin['chat_template']}, {other.name} with "
                f"{other.origin['chat_template']}.",
                "Choose adapters that read texts of one form.",
            )
    marks = [source for source in sources if _marks(source)]
    if marks and others:
        raise UserError(
            f"{marks[0].name} is a reward model: it gives marks"
            + (" and does not speak." if len(marks) < len(sources) else ", by a head of its own."),
            "Leave reward models out.",
        )


def check_mergeable(source: Source) -> None:
    """Raise UserError when an adapter cannot become a part of the base model's weights."""
    tuner = TUNERS.get(TUNER_OF.get(source.kind, ""))
    if tuner is None or not tuner.merges(None):
        raise UserError(
            f"{source.name} is no change of weights ({source.title}), so that it cannot be merged into any.",
            "Use it as an adapter, or choose LoRA, AdaLoRA, (IA)³ or a sparse adapter.",
        )


def check_sum(source: Source, spec: MergeSpec) -> None:
    """Raise UserError when an adapter cannot be added up with others by the method."""
    method = MERGE_METHODS[spec.method.name]
    if source.kind == "IA3":
        if method.name != "linear" or spec.into_base:
            raise UserError(
                f"{source.name} is (IA)³: factors, which only the method linear can add up, into an adapter.",
                "Choose linear, and merge the result into the base afterwards.",
            )
    elif source.kind != "LORA":
        raise UserError(
            f"{source.name} is {source.title}, which cannot be added up with others.",
            "Choose LoRA adapters (or (IA)³ with the method linear); one alone can be merged into the base.",
        )
    for option, reason in NOT_A_SUM.items():
        if source.config.get(option):
            raise UserError(f"{source.name} {reason}.", "Leave it out, or merge it alone into the base model.")
    check_contents(source)


def check_contents(source: Source) -> None:
    """Raise UserError when an adapter's file holds more than its matrices, or scales them in an unclear way."""
    if source.config.get("bias", "none") != "none":
        raise UserError(f"{source.name} changes biases as well.", "Leave it out.")
    patterns = [*(source.config.get("alpha_pattern") or {}), *(source.config.get("rank_pattern") or {})]
    strange = [key for key in patterns if not PLAIN_NAME.fullmatch(key)]
    if strange:
        raise UserError(f"{source.name} scales layers by a pattern ({strange[0][:60]}).", "Leave it out.")
    other = [key for key in source.header if not split_key(key)[1]]
    other += [module for module, shapes in source.shapes_cached.items() if not _is_update(shapes)]
    if other:
        raise UserError(f"{source.name} holds something else than an update: {other[0][:120]}.", "Leave it out.")


def _is_update(shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a module's tensors are A (r, in) with B (out, r), or one vector."""
    if set(shapes) == {"A", "B"}:
        return len(shapes["A"]) == len(shapes["B"]) == 2 and shapes["A"][0] == shapes["B"][1]
    return set(shapes) == {"ia3_l"}


def check_sizes(sources: Sequence[Source]) -> None:
    """Raise UserError when adapters are of different kinds, or their matrices do not lie on each other."""
    if len({source.kind for source in sources}) > 1:
        kinds = ", ".join(f"{source.name} is {source.title}" for source in sources)
        raise UserError(f"Different kinds of adapter cannot be added up: {kinds}.", "Choose adapters of one kind.")
    known: dict[str, tuple[str, tuple[int, ...]]] = {}
    for source in sources:
        for module, shapes in source.shapes_cached.items():
            shape = shapes.get("ia3_l") or (*shapes.get("B", ())[:1], *shapes.get("A", ())[1:])
            other, expected = known.setdefault(module, (source.name, shape))
            if expected != shape:
                raise UserError(
                    f"{module} has other sizes in {source.name} than in {other}.", "Choose adapters of one base model."
                )


def check_ranks(spec: MergeSpec, sources: Sequence[Source]) -> None:
    """Raise UserError when a rank is not as the method needs it."""
    method = MERGE_METHODS[spec.method.name]
    if method.needs_equal_ranks and sources[0].kind == "LORA":
        _check_ranks(method.title, sources)
    if result_rank(spec, sources) > LARGEST_RANK:
        raise UserError(
            f"The ranks add up to {result_rank(spec, sources)}; {LARGEST_RANK} is the most.",
            "Choose SVD, which cuts the sum to a rank.",
        )


def _check_ranks(title: str, sources: Sequence[Source]) -> None:
    ranks = {source.name: rank_of(source) for source in sources}
    if len({rank for found in ranks.values() for rank in found}) > 1:
        told = ", ".join(f"{name} has rank {' and '.join(map(str, found))}" for name, found in ranks.items())
        raise UserError(
            f"{title} computes with the matrices A and B and needs equal ranks: {told}.",
            "Choose concatenation, SVD, or a method that ends in SVD.",
        )


def rank_of(source: Source) -> list[int]:
    """The ranks of a LoRA adapter's matrices, each once."""
    return sorted({shapes["A"][0] for shapes in source.shapes_cached.values() if "A" in shapes})


def result_rank(spec: MergeSpec, sources: Sequence[Source]) -> int:
    """The rank of what a merge makes; 0 where there is no rank."""
    largest = [max(rank_of(source), default=0) for source in sources]
    acts_on = MERGE_METHODS[spec.method.name].acts_on
    if acts_on == "stack" or len(sources) == 1:
        return sum(largest)
    if acts_on == "factors":
        return max(largest)
    return int(getattr(spec.method, "svd_rank", 0)) or max(largest)


def result_options(sources: Sequence[Source], rank: int) -> dict[str, Any] | None:
    """The tuner's options as a job that learns on the result must have them; None where nobody knows."""
    options = [source.options for source in sources]
    if any(one is None for one in options):
        return None
    known = [one for one in options if one is not None]
    if sources[0].kind == "IA3":
        return known[0] if all(one == known[0] for one in known) else None
    where = [one["target_modules"] for one in known]
    widest = next(name for name in ("all-linear", "attention", "q_v") if name in where)
    return {"name": "lora", "r": rank, "lora_alpha": rank, "target_modules": widest}


def _marks(source: Source) -> bool:
    return OBJECTIVES[str(source.origin["objective"])].task_type == "SEQ_CLS"
