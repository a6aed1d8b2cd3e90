"""`python -m studio.worker.probe FOLDER`: two steps of a job at its longest batch, to see what its card takes.

Nothing is kept but `probe.json` in the job's folder; running out of memory is an answer, not a failure.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.spec import TrainSpec, read_train_spec
from studio.workspace import Workspace, read_json, write_json

STEPS = 2  # the second has the optimizer's states


def main(folder: Path) -> int:
    """Probe the job in `folder`. Exit code 0: measured; 2: the user can fix it, told in probe.json."""
    from studio.worker.quiet import prepare_libraries

    try:
        prepare_libraries(folder)
        record = probe(folder, read_train_spec(folder / names.SPEC))
    except UserError as error:
        write_json(folder / names.PROBE, {"error": {"message": error.message, "hint": error.hint}})
        return 2
    write_json(folder / names.PROBE, record)
    return 0


def probe(folder: Path, spec: TrainSpec, meter: Any = None) -> dict[str, Any]:
    """What the job's longest batch takes: the record of `card_memory`. Raises UserError without a CUDA card."""
    import torch

    if meter is None and not torch.cuda.is_available():  # told before what trains is imported
        raise UserError("There is no CUDA card to probe.", "The estimate and the simulation need none.")

    from studio.worker.card_memory import measured
    from studio.worker.ingredients import gather_ingredients
    from studio.worker.teller import Teller
    from studio.worker.train import build_trainer

    short = spec.model_copy(update={"max_steps": STEPS, "save_steps": 1_000_000, "eval_share": 0.0})
    with tempfile.TemporaryDirectory(prefix="probe-") as place:
        aside = Path(place)
        ingredients = gather_ingredients(short, Workspace(folder.parent.parent), Teller(aside / names.EVENTS))
        count = STEPS * spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        rows = [longest(ingredients.train_rows)] * count
        trainer = build_trainer(replace(ingredients, train_rows=rows, eval_rows=[]), aside)
        trainer.args.save_strategy = "no"
        try:
            with measured(aside, short, trainer, rows, meter):
                trainer.train()
        except torch.OutOfMemoryError:
            pass  # what was measured until then is the answer
        record: dict[str, Any] = read_json(aside / names.MEMORY)
    return record | {"job": folder.name, "probed": True}


def longest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of most tokens."""
    return max(
        rows,
        key=lambda row: sum(len(value) for name, value in row.items() if isinstance(value, list) and name != "labels"),
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
