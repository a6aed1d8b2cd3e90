"""Environment variables → Settings. The only reader of os.environ."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from studio.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent

# One line a setting: variable, default, help. The documentation and its test read this table.
SETTINGS: tuple[tuple[str, str, str], ...] = (
    ("STUDIO_WORKSPACE", "workspace", "Folder that keeps models, data sets and jobs; made when missing."),
    ("STUDIO_HOST", "127.0.0.1", "Address to listen on. Anything but loopback needs STUDIO_PASSWORD."),
    ("STUDIO_PORT", "7860", "Port of the page, 1-65535."),
    ("STUDIO_PASSWORD", "", "When set, the page asks for it. Needed to listen beyond this machine."),
    ("STUDIO_ALLOWED_HOSTS", "", "More host names that the page answers to, separated by commas."),
    ("STUDIO_HUB_TIMEOUT", "5", "Seconds to wait for the model hub before going on without it."),
    (
        "STUDIO_MODEL_ROOTS",
        "",
        "Folders (separated by colons) whose models may be used when others can reach the page.",
    ),
    ("STUDIO_DATA_ROOTS", "", "Folders (separated by colons) of this machine whose files Data and Adapters offer."),
    ("STUDIO_UPLOAD_LIMIT_MB", "2048", "Largest file that can be uploaded, in megabytes."),
    (
        "STUDIO_REMOTE_URL",
        "",
        "A vLLM, SGLang or other OpenAI-compatible server, such as http://gpu:8000; its models can be chatted with.",
    ),
    ("STUDIO_REMOTE_KIND", "vllm", "How that server loads adapters: vllm, sglang, or openai for not at all."),
    ("STUDIO_REMOTE_KEY", "", "The API key that it wants. Kept in memory alone."),
    (
        "STUDIO_REMOTE_WORKSPACE",
        "",
        "Where that server sees the workspace's folder, to load adapters from; the same path when not set.",
    ),
)
REMOTE_KINDS = ("vllm", "sglang", "openai")
DEFAULTS = {name: default for name, default, _ in SETTINGS}

# What a worker may see of our environment. Everything else (tokens, keys, proxies' passwords) stays here.
WORKER_ENVIRONMENT = (
    "PATH", "HOME", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME",
    "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
)  # fmt: skip

# Gradio acts on these by itself (public tunnel, other bind address, code editing without login): never wanted.
FORBIDDEN_VARIABLES = (
    "GRADIO_SHARE", "GRADIO_SERVER_NAME", "GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_VIBE_MODE",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how the studio runs."""

    workspace: Path
    host: str = "127.0.0.1"
    port: int = 7860
    password: str = field(default="", repr=False)
    allowed_hosts: tuple[str, ...] = ()
    hub_timeout: float = 5.0
    model_roots: tuple[Path, ...] = ()
    data_roots: tuple[Path, ...] = ()
    upload_limit_mb: int = 2048
    remote_url: str = ""
    remote_kind: str = "vllm"
    remote_key: str = field(default="", repr=False)
    remote_workspace: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can reach the page."""
        return self.host in ("127.0.0.1", "localhost", "::1")


def read_settings(environ: Mapping[str, str] = os.environ, **overrides: str | int | None) -> Settings:
    """Settings from the environment; `overrides` (host, port, workspace: from the command line) win.

    Raises UserError naming the variable and its value when one cannot be used.
    """
    for name in FORBIDDEN_VARIABLES:
        if environ.get(name):
            raise UserError(f"The environment variable {name} is set.", f"Unset it: `unset {name}`.")

    def value(name: str) -> str:
        return environ.get(name) or DEFAULTS[name]

    settings = Settings(
        workspace=Path(str(overrides.get("workspace") or value("STUDIO_WORKSPACE"))).expanduser().absolute(),
        host=str(overrides.get("host") or value("STUDIO_HOST")),
        port=_port(value("STUDIO_PORT"), overrides.get("port")),
        password=value("STUDIO_PASSWORD"),
        allowed_hosts=tuple(h.strip() for h in value("STUDIO_ALLOWED_HOSTS").split(",") if h.strip()),
        hub_timeout=float(_whole_number("STUDIO_HUB_TIMEOUT", value("STUDIO_HUB_TIMEOUT"), 1, 600)),
        model_roots=tuple(Path(p).expanduser() for p in value("STUDIO_MODEL_ROOTS").split(":") if p),
        data_roots=tuple(Path(p).expanduser().absolute() for p in value("STUDIO_DATA_ROOTS").split(":") if p),
        upload_limit_mb=_whole_number("STUDIO_UPLOAD_LIMIT_MB", value("STUDIO_UPLOAD_LIMIT_MB"), 1, 10**6),
        remote_url=_address("STUDIO_REMOTE_URL", value("STUDIO_REMOTE_URL")),
        remote_kind=value("STUDIO_REMOTE_KIND"),
        remote_key=value("STUDIO_REMOTE_KEY"),
        remote_workspace=Path(there) if (there := value("STUDIO_REMOTE_WORKSPACE")) else None,
    )
    if settings.remote_kind not in REMOTE_KINDS:
        kinds = ", ".join(REMOTE_KINDS)
        raise UserError(f"STUDIO_REMOTE_KIND={settings.remote_kind} is not known.", f"Set it to one of {kinds}.")
    if not settings.is_loopback and not settings.password:
        raise UserError(
            f"Listening on {settings.host} would let everybody on the network in.",
            "Set a password first: `STUDIO_PASSWORD=… make run HOST=…`.",
        )
    return settings


def prepare_ui_environment(settings: Settings) -> None:
    """Set what Gradio and the hub library read at import: uploads in the workspace, no telemetry."""
    os.environ["GRADIO_TEMP_DIR"] = str(settings.workspace / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # After every event Gradio makes a table of the last 10,000 for a page of figures that is switched off.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def worker_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child process: the allow-list above and what keeps libraries quiet and offline."""
    allowed = {name: environ[name] for name in WORKER_ENVIRONMENT if name in environ}
    return {
        **allowed,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(REPOSITORY),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "BITSANDBYTES_NOWELCOME": "1",
        # No job compiles its model. bitsandbytes asks for functions to be compiled that a processor or an NVIDIA card
        # never calls, and PyTorch reads its whole compiler for it, while somebody waits for the worker to start.
        "TORCHDYNAMO_DISABLE": "1",
        # Threads that wait for each other sleep. By default they spin, which makes a step two to four times as long
        # as soon as another program wants a core, and no shorter when none does.
        "OMP_WAIT_POLICY": "PASSIVE",
        # Training frees and takes the same large buffers at every step. Kept in the heap, and in huge pages, they
        # need not be zeroed again by the kernel: 10 % fewer CPU-seconds per token on a 2-core machine.
        "MALLOC_MMAP_THRESHOLD_": str(4 * 1024**3),
        "MALLOC_TRIM_THRESHOLD_": str(8 * 1024**3),
        "MALLOC_TOP_PAD_": str(256 * 1024**2),
        "THP_MEM_ALLOC_ENABLE": "1",
    }


def _address(name: str, value: str) -> str:
    """The address of a server, without the /v1 that comes behind it."""
    address = value.rstrip("/").removesuffix("/v1")
    if address and not re.fullmatch(r"https?://[\w.\-\[\]:]+(/[\w./\-]*)?", address):
        raise UserError(
            f"{name} is not an address.", f"Write it like {name}=http://gpu:8000; a key has its own variable."
        )
    return address


def _port(configured: str, override: str | int | None) -> int:
    if override is None:
        return _whole_number("STUDIO_PORT", configured, 1, 65535)
    return _whole_number("--port", override, 1, 65535)


def _whole_number(name: str, value: str | int, low: int, high: int) -> int:
    try:
        number = int(value)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise UserError(f"{name}={value} is not a whole number from {low} to {high}.", f"Change or unset {name}.")
    return number
