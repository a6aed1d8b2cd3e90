"""What a trainer is made of: the job's examples as rows of tokens, the base model's folder, the tokenizer."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from studio import hub
from studio.base_models import model_folder
from studio.data.chat_template import ChatTokenizer, tokenize_batch
from studio.data.examples import Example
from studio.errors import UserError
from studio.jobs.earlier_jobs import check_start_from, start_of, starting_adapter, starting_model
from studio.jobs.events import EventWriter, Progress, Warned
from studio.jobs.spec import TrainSpec
from studio.jobs.training_data import UsedData, ewc_examples, gather
from studio.methods.objectives import OBJECTIVES
from studio.worker import checkpoints, load
from studio.workspace import Workspace, read_json, write_json

Rows = list[dict[str, Any]]
TOKENIZED_AT_ONCE = 512  # examples
TOKENS = re.compile(r"_ids$|^prompt$")  # columns that hold tokens which the model sees


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What a trainer is made of.

    `adapter`: the folder of the one that it continues from. `held_rows`: general text whose ability is held (EWC).
    """

    spec: TrainSpec
    base: Path
    tokenizer: PreTrainedTokenizerBase
    train_rows: Rows
    eval_rows: Rows
    used: UsedData
    adapter: Path | None = None
    held_rows: Rows = field(default_factory=list)


def gather_ingredients(spec: TrainSpec, workspace: Workspace, events: EventWriter) -> Ingredients:
    """Everything but the weights. Raises UserError when the data set is gone or nothing of it would be learned."""
    data = gather(spec, workspace)
    base = starting_model(spec, workspace) or model_folder(spec.base_model, workspace.models)
    if base is None:
        events.write(Progress(phase=f"fetching {spec.base_model}"))
        base = hub.download(spec.base_model)
    if spec.start_from:
        check_start_from(spec, workspace, base)
        checkpoints.verify(start_of(spec.start_from, workspace)[0])
    chat = ChatTokenizer(base, spec.chat_template)
    train_rows, train_too_long = tokenized_rows(data.train, chat, spec)
    eval_rows, eval_too_long = tokenized_rows(data.evaluation, chat, spec)
    too_long = OBJECTIVES[spec.objective.name].too_long
    if not train_rows:
        raise UserError(
            f"Nothing would be learned: max_length {spec.max_length} {too_long}, in every example.",
            "Raise max length, or use shorter texts.",
        )
    for warning in data.warnings():
        events.write(Warned(message=warning))
    for without, count, kind in (
        (train_too_long, len(data.train), "examples"),
        (eval_too_long, len(data.evaluation), "examples for evaluation"),
    ):
        if without:
            events.write(Warned(message=f"{without} of {count} {kind} are left out: max_length {too_long}."))
    return Ingredients(
        spec=spec,
        base=base,
        tokenizer=load.load_tokenizer(base, spec.chat_template),
        train_rows=train_rows,
        eval_rows=eval_rows,
        used=data.used.model_copy(update={"train_too_long": train_too_long, "eval_too_long": eval_too_long}),
        adapter=starting_adapter(spec, workspace),
        held_rows=held_rows(spec, workspace, chat) if spec.ewc_lambda else [],
    )


def note_data(file: Path, used: UsedData, events: EventWriter) -> None:
    """Write down what is learned from; a job that goes on must find what it began with."""
    before, now = read_json(file), used.model_dump()
    if before not in (None, now):
        events.write(Warned(message="This attempt does not learn from the same rows as the one before: see data.json."))
    write_json(file, now)


def tokenized_rows(examples: list[Example], chat: ChatTokenizer, spec: TrainSpec) -> tuple[Rows, int]:
    """(the trainer's rows in its order, how many examples gave none)."""
    objective = OBJECTIVES[spec.objective.name]
    rows: list[Rows] = []
    for start in range(0, len(examples), TOKENIZED_AT_ONCE):
        some = examples[start : start + TOKENIZED_AT_ONCE]
        for example, sequences in zip(some, tokenize_batch(some, chat), strict=True):
            carried = objective.carried(example) if objective.carried else {}
            rows.append([{**row, **carried} for row in objective.columns(sequences, spec.max_length)])
    flat = [row for some in rows for row in some]
    if objective.arrange is not None:
        flat = objective.arrange(flat, spec.per_device_train_batch_size, spec.seed)
    return flat, sum(not some for some in rows)


def held_rows(spec: TrainSpec, workspace: Workspace, chat: ChatTokenizer) -> Rows:
    """Ids and labels of what is answered in the general data that EWC holds. Raises UserError when there is none."""
    drawn = ewc_examples(spec, workspace)
    kept = [sequences[0].cut(spec.max_length) for sequences in tokenize_batch(drawn, chat)]
    return [{"input_ids": one.input_ids, "labels": one.labels} for one in kept if one.learned]


def longest_sequence(rows: Rows) -> int:
    """Tokens of the longest row: of all that it holds but labels, masks and what is only compared with."""
    return max(
        sum(len(value) for name, value in row.items() if TOKENS.search(name) and not name.startswith("KL_"))
        for row in rows
    )
