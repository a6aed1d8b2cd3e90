"""What the page is made of: our stylesheet, scripts and fonts, and Plotly from the installed package."""

import gzip
import hashlib
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "assets"
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}  # addresses carry a version


@cache
def version() -> str:
    """Changes whenever one of our files does."""
    digest = hashlib.sha256()
    for file in sorted(FOLDER.rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


@cache
def plotly_script() -> Path:
    """plotly.js as the installed plotly package ships it."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def compressed_plotly() -> bytes:
    """4.6 MB become 1.4 MB on the wire; made once, when first asked for."""
    return gzip.compress(plotly_script().read_bytes(), compresslevel=6)


def mount_files(app: FastAPI) -> None:
    """Serve everything below /ui-assets (not /static: that is Gradio's)."""

    @app.get("/ui-assets/plotly.min.js")
    def plotly(request: Request) -> Response:
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return FileResponse(plotly_script(), media_type="text/javascript", headers=FOREVER)
        headers = {**FOREVER, "content-encoding": "gzip", "vary": "accept-encoding"}
        return Response(compressed_plotly(), media_type="text/javascript", headers=headers)

    app.mount("/ui-assets", StaticFiles(directory=FOLDER))
