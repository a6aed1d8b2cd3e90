"""`studio chat …`"""

import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from studio.data.examples import Message
from studio.errors import UserError
from studio.jobs.chat_weights import ChatWeights, known_quantization
from studio.jobs.servers import Endpoint, ServerPool
from studio.jobs.studio import open_studio
from studio.playground.client import ChatClient, Settings, chat_target
from studio.settings import read_settings


def chat(
    adapter: Annotated[str, typer.Option(help="A finished job's id, or base for the model without adapter.")] = "base",
    model: Annotated[str, typer.Option(help="The base model, when there is no adapter.")] = "starter",
    message: Annotated[
        str | None, typer.Option(help="Ask this one thing and end; else a conversation begins.", show_default=False)
    ] = None,
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 0.9,
    max_tokens: Annotated[int, typer.Option(min=1, max=8192)] = 256,
    quantization: Annotated[
        str, typer.Option(help="Hold the base model as none, int8 or nf4 for this chat; else as the studio has chosen.")
    ] = "",
) -> None:
    """Talk to a base model or to what a job made of it."""
    if message is not None and not message.strip():  # before a model is loaded for nothing
        raise UserError(
            "The message is empty.", "Write something behind --message, or leave it out to have a conversation."
        )
    studio = open_studio(read_settings())
    held = known_quantization(quantization) if quantization else ChatWeights(studio.workspace).read()
    target = chat_target(studio.store, studio.workspace, adapter if adapter != "base" else f"base:{model}")
    settings = Settings(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    # A server of the page that holds its base another way is the page's to replace.
    pool = ServerPool(studio.workspace, quantization=held)
    had = set(pool.running())
    try:
        client = ChatClient(_wait_for(pool, target.base_model))
        history: list[Message] = [{"role": "system", "content": system}] if system else []
        for question in _questions() if message is None else [message]:
            history.append({"role": "user", "content": question})
            answer = ""
            for piece in client.stream(target.model, history, settings):
                answer += piece
                typer.echo(piece, nl=False)
            typer.echo("")
            history.append({"role": "assistant", "content": answer})
    finally:
        if target.base_model not in had:
            pool.end(target.base_model)


def _questions() -> Iterator[str]:
    typer.echo("Write something; an empty line ends the conversation.", err=True)
    return iter(_ask, "")


def _ask() -> str:
    if sys.stdin.isatty():
        typer.echo("> ", nl=False, err=True)
    return sys.stdin.readline().strip()


def _wait_for(pool: ServerPool, base_model: str) -> Endpoint:
    typer.echo("Loading the base model …", err=True)
    while (endpoint := pool.want(base_model)) is None:
        pool.tend()
        time.sleep(0.2)
    return endpoint
