"""One FastAPI application: the guard in front, our routes, and Gradio mounted at /."""

import errno
import logging
import signal
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import psutil
import typer
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from studio.errors import UserError
from studio.jobs.chat_weights import ChatWeights
from studio.jobs.studio import Studio, keep_studio
from studio.jobs.training_options import QuantizationName
from studio.listening import listening_socket
from studio.loading import loading
from studio.settings import Settings, prepare_ui_environment

if TYPE_CHECKING:
    import gradio as gr

    from studio.ui.data_room import DataRoom
    from studio.ui.play_routes import PlayRoutes


def build_app(studio: Studio) -> FastAPI:
    """The whole application for one studio. Importing Gradio takes most of the start, so it is done in here."""
    prepare_ui_environment(studio.settings)
    import gradio as gr

    from studio.ui.data_room import DataRoom
    from studio.ui.files import version
    from studio.ui.front_page import FrontPage
    from studio.ui.i18n import translation
    from studio.ui.layout import build_blocks
    from studio.ui.play_routes import PlayRoutes
    from studio.ui.theme import build_theme

    room, play = DataRoom(studio), PlayRoutes(studio)
    app = build_routes(studio, room, play)
    blocks = build_blocks(studio, room, play.desk)
    _quicken(blocks)
    blocks.queue(api_open=False)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=build_theme(),
        i18n=translation(),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        allowed_paths=[],
        max_file_size=studio.settings.upload_limit_mb * 1024**2,
    )
    _confine(blocks)
    # The last one added is the first to see a request.
    app.add_middleware(FrontPage, version=version(), with_logout=bool(studio.settings.password))
    add_guard(app, studio)
    return app


def build_routes(studio: Studio, room: "DataRoom", play: "PlayRoutes") -> FastAPI:
    """The application without its page and without its guard: what scripts and our widgets ask."""
    from studio.ui.feedback import user_error_response
    from studio.ui.files import mount_files
    from studio.ui.openai_routes import mount_openai
    from studio.ui.routes import all_routers

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(UserError, user_error_response)
    app.add_api_route("/healthz", partial(health, studio))
    for router in (*all_routers(studio, room), play.router()):
        app.include_router(router)
    mount_openai(app, studio)
    mount_files(app)
    return app


def add_guard(app: FastAPI, studio: Studio) -> None:
    """Let nothing in that the guard does not let in."""
    from studio.ui.guard import Guard

    app.add_middleware(Guard, settings=studio.settings, workspace=studio.workspace)


def health(studio: Studio) -> JSONResponse:
    """Whether the page answers and the queue is kept."""
    alive = studio.supervisor is not None and studio.supervisor.is_alive
    return JSONResponse({"status": "ok" if alive else "queue stopped"}, status_code=200 if alive else 503)


def _quicken(blocks: "gr.Blocks") -> None:
    """Spare the page what nobody sees.

    It tells every output of every event that it is waited for, also where that is not shown, and each time searches
    the tree of components for it. Where nothing is shown, nothing is told.
    """
    for function in blocks.fns.values():
        if function.show_progress == "hidden" or function.fn is None:  # None: the browser's own work
            function.show_progress_on = []


def _confine(blocks: "gr.Blocks") -> None:
    """What Gradio's own `launch` would have seen to."""
    # Gradio lets an event name any file of this machine, and takes its copy for an upload, until it was launched;
    # mounting does not count as that. Only what was uploaded may be named.
    blocks.has_launched = blocks.is_running = True
    # Gradio looks for events 1,000 times a second, which costs 7 % of a core for nothing; 50 times is enough.
    queue = blocks._queue
    if hasattr(queue, "sleep_when_free"):
        queue.sleep_when_free = 0.02


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    open_page: bool,
    chat_quantization: QuantizationName | None = None,
) -> None:
    """Keep the queue and answer on `listener` until told to end. Raises UserError when the workspace is taken.

    `chat_quantization`: how base models are held for chats from now on; None: as was chosen before.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    address = f"http://{shown}:{settings.port}"
    with keep_studio(settings) as studio:
        if chat_quantization is not None:
            ChatWeights(studio.workspace).choose(chat_quantization)
        typer.echo(f"Opening the studio at {address} …")
        with loading():
            app = build_app(studio)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        threading.Thread(target=_announce, args=(server, address, open_page), daemon=True).start()
        # uvicorn raises the signal again once it has shut down: as an exit, so that chats are ended on the way out.
        signal.signal(signal.SIGTERM, lambda *unused: sys.exit(0))
        server.run(sockets=[listener])


def listen(settings: Settings) -> socket.socket:
    """The socket of the page. Raises UserError naming who has the port."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return listening_socket(settings.host, settings.port, family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {settings.port} is in use by {_owner_of(settings.port)}.",
                f"Stop it, or choose another port: `make run PORT={settings.port + 1}`.",
            ) from None
        raise UserError(f"{settings.host}:{settings.port} cannot be used: {error.strerror}.") from None


def _owner_of(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"


def _announce(server: uvicorn.Server, address: str, open_page: bool) -> None:
    while not server.started:
        threading.Event().wait(0.05)
    typer.echo(f"The studio is open at {address} (Ctrl-C ends it; running jobs go on).")
    if open_page:
        webbrowser.open(address)
