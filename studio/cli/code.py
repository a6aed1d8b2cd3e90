"""`studio code JOB`: the job as a Python script, a preset or Axolotl's YAML."""

from pathlib import Path
from typing import Annotated

import typer

from studio.cli.jobs import JobId
from studio.errors import UserError
from studio.jobs.code.bundle import JobCode
from studio.jobs.studio import open_studio
from studio.settings import read_settings


def code(
    job_id: JobId,
    yaml: Annotated[bool, typer.Option("--yaml", help="The preset that brings the job back, not the script.")] = False,
    axolotl: Annotated[bool, typer.Option("--axolotl", help="Axolotl's configuration, not the script.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write all of them, and the rows that they read, into a folder.")
    ] = None,
) -> None:
    """Print a job as a stand-alone Python script (transformers, PEFT and TRL alone), or as YAML."""
    if yaml and axolotl:
        raise UserError("Either --yaml or --axolotl.", "Leave one of them out, or take both with --out FOLDER.")
    studio = open_studio(read_settings())
    job = JobCode(studio.workspace, studio.store.view(job_id))
    if out is None:
        typer.echo(job.text("axolotl" if axolotl else "yaml" if yaml else "script"), nl=False)
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty.", "Choose a new folder.")
    for name in job.write(out):
        typer.echo(str(out / name))
