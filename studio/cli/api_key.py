"""`studio api-key …`"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from studio.cli.output import AsJson, show, table
from studio.jobs.studio import open_studio
from studio.playground import api_keys
from studio.playground.api_keys import ApiKey
from studio.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Keys for the OpenAI-compatible API: new, list, revoke.")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What will use the key, such as: my notebook.")],
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    key, text = api_keys.new_key(open_studio(read_settings()).workspace, name)
    show({**_plain(key), "key": text}, as_json, lambda: f"{text}\n\nIt is not shown again. Its id is {key.id}.")


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """All keys, without the words themselves."""
    rows = [_plain(key) for key in api_keys.list_keys(open_studio(read_settings()).workspace)]
    empty = "No keys yet. Make one: python -m studio api-key new NAME"
    show(rows, as_json, lambda: table(rows, ("id", "ending", "created", "name")) if rows else empty)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id: see `api-key list`.")]) -> None:
    """Make a key worthless, at once."""
    api_keys.revoke_key(open_studio(read_settings()).workspace, key_id)
    typer.echo(f"{key_id} is revoked.")


def _plain(key: ApiKey) -> dict[str, Any]:
    values = {name: value for name, value in asdict(key).items() if name != "sha256"}
    return {**values, "created": datetime.fromtimestamp(key.created, UTC).isoformat(timespec="seconds")}
