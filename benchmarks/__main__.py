"""`python -m benchmarks`: measure, print a table, write JSON."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import BENCHMARKS
from benchmarks.contract import Options
from benchmarks.record import add_result, table
from studio.base_models import model_folder
from studio.errors import UserError
from studio.settings import read_settings
from studio.workspace import Workspace

LATEST = Path(__file__).parent / "results" / "latest.json"


def main(arguments: list[str]) -> int:
    """Exit code 0: measured, whether goals were met or not; 2: something is missing."""
    given = parse(arguments)
    try:
        models = Workspace(read_settings().workspace).models
        model_folder("starter", models)
        for option in ("alpaca", "general", "pairs"):
            file = getattr(given, option)
            if file is not None and not file.is_file():
                raise UserError(f"There is no file {file}.", f"Give --{option} the path of a file of rows.")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    sizes = {name: getattr(given, name) for name in ("steps", "rounds", "seconds", "megabytes")}
    options = Options(models=models, alpaca=given.alpaca, general=given.general, pairs=given.pairs, **sizes)
    record = {}
    for name in given.only or [name for name, one in BENCHMARKS.items() if not one.on_demand]:
        benchmark = BENCHMARKS[name]
        print(f"{benchmark.title} …", file=sys.stderr, flush=True)
        record = add_result(given.output, name, benchmark.title, benchmark.measure(options))
    print(json.dumps(record, indent=1, ensure_ascii=False) if given.json else table(record))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the studio measures of itself.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="measure this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--output", type=Path, default=LATEST, help="file for the results; others in it stay")
    parser.add_argument("--alpaca", type=Path, help="file of Alpaca-style rows to train on, instead of our sample")
    parser.add_argument("--general", type=Path, help="file of general rows that should not be forgotten")
    parser.add_argument("--pairs", type=Path, help="file of preference pairs, instead of our sample")
    parser.add_argument("--steps", type=_at_least(2), default=24, help="training steps")
    parser.add_argument("--rounds", type=_at_least(1), default=5, help="repetitions of what is noisy")
    parser.add_argument("--seconds", type=_at_least(1), default=30, help="how long open tabs are watched")
    parser.add_argument("--megabytes", type=_at_least(1), default=1000, help="size of the large file")
    return parser.parse_args(arguments)


def _at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return value

    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
