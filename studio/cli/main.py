"""The commands, and what an error looks like in a shell: a sentence and exit code 2."""

import json
import sys
from importlib import metadata
from typing import Annotated, Any

import typer

from studio import __version__
from studio.cli import adapters, api_key, chat, code, data, jobs, memory, merge, sweep, votes
from studio.cli.output import AsJson, show, table
from studio.errors import UserError
from studio.jobs.chat_weights import known_quantization
from studio.jobs.presets import read_presets
from studio.jobs.spec import option_fields
from studio.methods.objectives import OBJECTIVES
from studio.methods.options import field_limits
from studio.methods.tuners import TUNERS
from studio.settings import read_settings
from studio.starter_model import ensure_starter_model
from studio.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A fine-tuning studio."
)
app.add_typer(data.app, name="data")
app.add_typer(jobs.app, name="jobs")
app.add_typer(adapters.app, name="adapters")
app.add_typer(votes.app, name="votes")
app.command()(jobs.train)
app.command()(sweep.sweep)
app.command()(merge.merge)
app.command()(code.code)
app.command()(chat.chat)
app.command()(memory.memory)
app.add_typer(api_key.app, name="api-key")

PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "gradio", "plotly", "pandas")


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        app(args=arguments, prog_name="studio")
    except SystemExit as end:  # typer's way to end, after it has explained a wrong option
        return int(end.code or 0)
    except UserError as error:
        if "--json" in arguments:
            typer.echo(json.dumps({"error": {"message": error.message, "hint": error.hint}}, ensure_ascii=False))
        typer.secho(f"{error.message}\n{error.hint}".strip(), fg="red", err=True)
        return 2
    return 0


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the page.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    chat_quantization: Annotated[
        str,
        typer.Option(help="Hold base models for chats as none, int8 or nf4 from now on, as can be chosen in the page."),
    ] = "",
) -> None:
    """Start the studio's page and keep its queue."""
    settings = read_settings(host=host, port=port)
    held = known_quantization(chat_quantization) if chat_quantization else None
    from studio.ui.server import listen
    from studio.ui.server import serve as serve_page

    listener = listen(settings)  # before anything is fetched: a port that is taken should be told at once
    workspace = Workspace(settings.workspace).prepare()
    try:
        ensure_starter_model(workspace.models, settings.hub_timeout, typer.echo)
    except UserError as error:
        typer.secho(f"{error} The studio opens without it.", fg="yellow", err=True)
    serve_page(settings, listener, open_page=open_page, chat_quantization=held)


@app.command()
def fetch() -> None:
    """Fetch the starter model, unless it is here."""
    settings = read_settings()
    workspace = Workspace(settings.workspace).prepare()
    folder = ensure_starter_model(workspace.models, settings.hub_timeout, typer.echo)
    typer.echo(f"The starter model is in {folder}.")


@app.command()
def options(
    preset: Annotated[str, typer.Option(help="Show the values of this preset.")] = "lora", as_json: AsJson = False
) -> None:
    """List every option of a preset for `train --set key=value`: its value, limits and help."""
    presets = read_presets()
    if preset not in presets:
        raise UserError(f"There is no preset {preset!r}.", f"Choose one of: {', '.join(presets)}.")
    values = presets[preset].values()
    rows = []
    for key, field in option_fields(values["objective"]["name"], values["tuner"]["name"]):
        group, _, name = key.rpartition(".")
        value = (values[group] if group else values)[name]
        limits = field_limits(field)
        rows.append({"option": key, "value": value, "limits": limits, "title": field.title, "help": field.description})
    told = [{**row, "help": f"{row['help']} ({row['limits']})" if row["limits"] else row["help"]} for row in rows]
    show(rows, as_json, lambda: table(told, ("option", "value", "help")))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check what this machine has, and say what is missing."""
    from studio.cli.doctor import examine

    findings = examine(read_settings(), PACKAGES)
    show(findings, as_json, lambda: table(findings, ("check", "ok", "found")))
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(2)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Versions of the studio and of the libraries that train."""
    versions: dict[str, Any] = {"studio": __version__}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    show(versions, as_json, lambda: "\n".join(f"{name} {number}" for name, number in versions.items()))


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the objectives, tuners and presets."""
    rows = [
        *({"kind": "objective", "name": one.name, "summary": one.summary} for one in OBJECTIVES.values()),
        *({"kind": "tuner", "name": one.name, "summary": one.summary} for one in TUNERS.values()),
        *({"kind": "preset", "name": name, "summary": one.summary} for name, one in read_presets().items()),
    ]
    show(rows, as_json, lambda: table(rows, ("kind", "name", "summary")))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
