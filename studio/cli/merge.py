"""`studio merge …`: several adapters into one, or into the base model."""

from typing import Annotated, Any

import typer

from studio.cli.jobs import finish, keeper
from studio.cli.output import AsJson, show, table
from studio.errors import UserError
from studio.jobs.merging import plan_merge
from studio.methods.merging import MERGE_METHODS


def merge(
    adapter: Annotated[
        list[str] | None, typer.Option(help="A job, JOB@STEP, or an imported adapter; once for each.")
    ] = None,
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight of each adapter, in their order; left out: 1 each.")
    ] = None,
    method: Annotated[str, typer.Option(help="How they become one: see --methods.")] = "cat",
    density: Annotated[float | None, typer.Option(help="Share of entries kept, for methods that drop some.")] = None,
    svd_rank: Annotated[int | None, typer.Option(help="Rank of the result, for methods that cut to a rank.")] = None,
    majority_sign: Annotated[str | None, typer.Option(help="total or frequency, for methods that vote.")] = None,
    into_base: Annotated[bool, typer.Option("--into-base", help="Make a whole model of base and adapters.")] = False,
    dtype: Annotated[str, typer.Option(help="Number format of the whole model.")] = "auto",
    seed: Annotated[int, typer.Option(help="What DARE draws by.")] = 42,
    name: Annotated[str, typer.Option(help="What the job is called.")] = "",
    methods: Annotated[bool, typer.Option("--methods", help="List the methods and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Merge adapters of one base model, and wait for the end."""
    if methods:
        rows = [{"method": one.name, "title": one.title, "what": one.summary} for one in MERGE_METHODS.values()]
        show(rows, as_json, lambda: table(rows, ("method", "what")))
        return
    given = {"density": density, "svd_rank": svd_rank, "majority_sign_method": majority_sign}
    values = {
        "name": name,
        "sources": sources_of(adapter or [], weight or []),
        "method": options_of(method, {key: value for key, value in given.items() if value is not None}),
        "into_base": into_base,
        "dtype": dtype,
        "seed": seed,
    }
    with keeper() as studio:
        job_id = studio.start_merge(plan_merge(values, studio.workspace))
        finish(studio, job_id, as_json=as_json)


def sources_of(adapters: list[str], weights: list[float]) -> list[dict[str, Any]]:
    """[{adapter, weight}]. Raises UserError when the numbers differ."""
    if not adapters:
        raise UserError("No adapter is named.", "Name each with --adapter; `studio jobs list` has them.")
    if weights and len(weights) != len(adapters):
        raise UserError(
            f"There are {len(adapters)} adapters and {len(weights)} weights.",
            "Give one --weight for each --adapter, or none.",
        )
    together = zip(adapters, weights or [1.0] * len(adapters), strict=True)
    return [{"adapter": adapter, "weight": weight} for adapter, weight in together]


def options_of(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """The method with its options. Raises UserError when there is none of that name, or it has no such option."""
    if method not in MERGE_METHODS:
        raise UserError(f"There is no method {method[:40]!r}.", f"Choose one of: {', '.join(MERGE_METHODS)}.")
    options = MERGE_METHODS[method].options.model_fields
    strange = [key for key in given if key not in options]
    if strange:
        having = [name for name, one in MERGE_METHODS.items() if strange[0] in one.options.model_fields]
        raise UserError(f"The method {method} has no {strange[0]}.", f"These have: {', '.join(having)}.")
    return {"name": method, **given}
