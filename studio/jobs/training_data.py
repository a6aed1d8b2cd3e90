"""The examples of a training job: which are learned, which evaluate, and the note of it in the job's folder."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from studio.data.audit.contract import to_spans
from studio.data.audit.reading import digest_of
from studio.data.dataset import verified_examples
from studio.data.examples import Example
from studio.data.mixing import Mixed, held_out, mix, require_same_kind
from studio.data.snapshots import read_current
from studio.errors import UserError
from studio.jobs.spec import TrainSpec
from studio.jobs.training_options import DatasetReference, Strict
from studio.methods.objectives import OBJECTIVES
from studio.workspace import Workspace

FEW_STEPS = 10  # optimizer steps; with fewer the learning rate has fallen again before much is learned


class UsedDataset(DatasetReference):
    """A data set that a job used; `rows` is how many examples it has."""

    rows: int


class UsedData(Strict):
    """What a job learned from and was measured on: data.json in its folder.

    `held_out_rows` (of `dataset`) evaluate, `general_rows` (of `general_dataset`) are mixed in: spans such as "3-5,9",
    counted from 1 among the examples that have the hash. `train_examples` and `eval_examples` are how many were used,
    `general_examples` of them general ones; `too_long` tells how many max_length left without an answer.
    """

    dataset: UsedDataset
    eval_dataset: UsedDataset | None = None
    general_dataset: UsedDataset | None = None
    held_out_rows: str = ""
    general_rows: str = ""
    train_examples: int
    general_examples: int = 0
    eval_examples: int
    train_too_long: int = 0
    eval_too_long: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The examples of a job, in the order in which they are handed to the trainer."""

    train: list[Example]
    evaluation: list[Example]
    used: UsedData
    shortage: str

    def warnings(self) -> Iterator[str]:
        """Sentences about what is not as one would wish."""
        if self.shortage:
            yield self.shortage
        learned = {digest_of(example) for example in self.train}
        known = sum(digest_of(example) in learned for example in self.evaluation)
        if known:
            yield (
                f"{known} of {len(self.evaluation)} examples for evaluation are trained on as well: "
                "the evaluation loss tells too good a story."
            )


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How many examples a job will train on, how many of them are general ones (and should be), and evaluate on."""

    train: int
    general: int
    general_wanted: int
    evaluation: int


def refer_to(dataset_id: str, workspace: Workspace) -> DatasetReference:
    """A data set as the user's steps leave it now. Raises UserError when there is none."""
    return DatasetReference(id=dataset_id, sha256=read_current(workspace.dataset(dataset_id))["sha256"])


def gather(spec: TrainSpec, workspace: Workspace) -> TrainingData:
    """The examples of a job: the same at every call. Raises UserError when a data set is gone or does not fit."""

    def verified(reference: DatasetReference | None) -> list[Example]:
        return verified_examples(workspace.dataset(reference.id), reference.sha256) if reference else []

    examples, general = verified(spec.dataset), verified(spec.general_dataset)
    evaluation = verified(spec.eval_dataset)
    require_same_kind(examples, evaluation)
    chosen = [] if spec.eval_dataset else held_out(examples, spec.eval_share, spec.seed)
    train = _without(examples, chosen)
    mixed = mix(train, general, spec.general_share, spec.seed) if spec.general_dataset else Mixed(train, "", 0, 0)
    used = UsedData(
        dataset=UsedDataset(**spec.dataset.model_dump(), rows=len(examples)),
        eval_dataset=_used(spec.eval_dataset, evaluation),
        general_dataset=_used(spec.general_dataset, general),
        held_out_rows=to_spans(position + 1 for position in chosen),
        general_rows=mixed.general_rows,
        train_examples=len(mixed.examples),
        general_examples=mixed.taken,
        eval_examples=len(evaluation) + len(chosen),
    )
    evaluation = evaluation or [examples[position] for position in chosen]
    return TrainingData(train=mixed.examples, evaluation=evaluation, used=used, shortage=mixed.shortage)


def ewc_examples(spec: TrainSpec, workspace: Workspace) -> list[Example]:
    """`ewc_rows` examples of the general data, drawn by the seed: what EWC holds weights for.

    Raises UserError when there is no general data.
    """
    if spec.general_dataset is None:
        raise UserError("EWC needs general data to measure by.", "Choose a general data set, or set EWC to 0.")
    reference = spec.general_dataset
    examples = verified_examples(workspace.dataset(reference.id), reference.sha256)
    return random.Random(spec.seed).sample(examples, min(spec.ewc_rows, len(examples)))


def expect(spec: TrainSpec, workspace: Workspace) -> Expected:
    """How many examples a job will use, told from the sizes of its data sets alone: quick, and near enough."""

    def rows(reference: DatasetReference | None) -> int:
        return int(read_current(workspace.dataset(reference.id))["rows"]) if reference else 0

    own = rows(spec.dataset)
    held = min(max(1, round(own * spec.eval_share)), own - 1) if spec.eval_share and own > 1 else 0
    if spec.eval_dataset:
        held = 0
    share = spec.general_share if spec.general_dataset else 0.0
    wanted = round((own - held) * share / (1 - share))
    general = min(wanted, rows(spec.general_dataset))
    return Expected(
        train=own - held + general,
        general=general,
        general_wanted=wanted,
        evaluation=rows(spec.eval_dataset) or held,
    )


def _used(reference: DatasetReference | None, examples: list[Example]) -> UsedDataset | None:
    return UsedDataset(**reference.model_dump(), rows=len(examples)) if reference else None


def _without(examples: list[Example], positions: list[int]) -> list[Example]:
    chosen = set(positions)
    return [example for position, example in enumerate(examples) if position not in chosen]


def planned_steps(spec: TrainSpec, examples: int) -> int:
    """Optimizer steps of a job that learns from so many examples, as transformers counts them."""
    if spec.max_steps > 0:
        return spec.max_steps
    together, times = OBJECTIVES[spec.objective.name].rounds(spec)
    batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    rows = examples // together * together * times
    return max(1, math.ceil(-(-rows // batch) * spec.num_train_epochs))


def teaches_little(spec: TrainSpec, steps: int) -> bool:
    """Whether a job makes too few optimizer steps to learn much, without having been asked for just so many."""
    return spec.max_steps <= 0 and steps < FEW_STEPS
