"""The model hub, in sentences: whether a model is there, and why not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studio.errors import UserError

FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
         "tokenizer*", "special_tokens_map.json", "*.jinja", "vocab.*", "merges.txt")  # fmt: skip

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "tokenizer.json", "tokenizer_config.json",
                 "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")  # fmt: skip


def network_errors(*also: type[Exception]) -> tuple[type[Exception], ...]:
    """What a connection ends in that is refused or breaks: for us, who ask with httpx, and for the Hub's library.

    That one has httpx2, whose errors are classes of their own. Not every OSError is among them: a full disk is none.
    Its answers with an error status (HfHubHTTPError) are such errors too, so they are caught before. `also` is
    caught with them.
    """
    import httpx
    import httpx2

    return (httpx.HTTPError, httpx2.HTTPError, ConnectionError, TimeoutError, *also)


def check_hub_model(hub_id: str, timeout: float) -> None:
    """Return when the Hub has `hub_id` and lets us read it. Raises UserError: unknown, gated, no network …"""
    import httpx
    from huggingface_hub import constants, get_token

    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"{constants.ENDPOINT}/{hub_id}/resolve/main/config.json"
    try:
        status = httpx.head(url, headers=headers, timeout=timeout, follow_redirects=True).status_code
    except network_errors():
        raise UserError(
            f"The model hub does not answer, so {hub_id} cannot be fetched.",
            "Check the network, use the starter model, or give the folder of a model on this machine.",
        ) from None
    raise_for_status(status, hub_id)


def check_hub_answers(hub_id: str, timeout: float = 10.0) -> None:
    """Return when the Hub can be reached, whatever it says. Raises UserError.

    Its library tries for half a minute before it gives up.
    """
    import httpx
    from huggingface_hub import constants

    try:
        httpx.head(constants.ENDPOINT, timeout=timeout)
    except network_errors():
        raise unreachable(hub_id) from None


def unreachable(hub_id: str) -> UserError:
    """What is said of something that is to come from a Hub that does not answer."""
    return UserError(
        f"The Hub does not answer, so {hub_id} cannot be fetched.", "Check the network, or upload the files."
    )


def raise_for_status(status: int, hub_id: str) -> None:
    """Turn an HTTP status of the Hub into a sentence; 2xx and 3xx return."""
    if status < 400:
        return
    sentences = {
        401: (f"The Hub wants to know who asks for {hub_id}, or does not have it.",
              "Check the spelling; for a gated model run `hf auth login` first."),
        403: (f"{hub_id} is gated and your account has no access.", "Accept its licence on the Hub's page."),
        404: (f"The Hub has no model {hub_id}.", "Check the spelling: organisation/model."),
        429: ("The Hub asks us to slow down.", "Wait some minutes and try again."),
    }  # fmt: skip
    message, hint = sentences.get(status, (f"The Hub answered with error {status}.", "Try again later."))
    raise UserError(message, hint)


def download(hub_id: str, folder: Path | None = None) -> Path:
    """Fetch a model's safetensors, config and tokenizer (what is here already is kept). Raises UserError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = snapshot_download(hub_id, allow_patterns=list(FILES), local_dir=folder)
    except HfHubHTTPError as error:
        raise_for_status(error.response.status_code if error.response is not None else 500, hub_id)
        raise
    except network_errors(LocalEntryNotFoundError):
        raise UserError(
            f"{hub_id} could not be fetched: the connection broke.", "Press Resume to go on where it stopped."
        ) from None
    return Path(path)


def adapter_bytes(hub_id: str, limit: int) -> int:
    """How many bytes an adapter of the Hub has. Raises UserError when it is none, a pickle, or more than `limit`."""
    from huggingface_hub import HfApi

    with _adapter_errors(hub_id):
        siblings = HfApi().model_info(hub_id, files_metadata=True).siblings or []
    sizes = {one.rfilename: one.size or 0 for one in siblings}
    _check_adapter_files(hub_id, sizes, limit)
    return sum(sizes.get(name, 0) for name in ADAPTER_FILES)


def download_adapter(hub_id: str, folder: Path) -> None:
    """Fetch an adapter's configuration, safetensors and tokenizer into `folder`. Raises UserError."""
    from huggingface_hub import snapshot_download

    with _adapter_errors(hub_id):
        snapshot_download(hub_id, allow_patterns=list(ADAPTER_FILES), local_dir=folder)


@contextmanager
def _adapter_errors(hub_id: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except HfHubHTTPError as error:
        raise_for_status(error.response.status_code if error.response is not None else 500, hub_id)
        raise
    except network_errors(LocalEntryNotFoundError):
        raise unreachable(hub_id) from None


def _check_adapter_files(hub_id: str, sizes: dict[str, int], limit: int) -> None:
    """Raise UserError unless the repository has an adapter in safetensors that is not too large."""
    if ADAPTER_WEIGHTS not in sizes and any(name.endswith((".bin", ".pt", ".pth")) for name in sizes):
        raise UserError(
            f"{hub_id} has its weights as pickle, which can run code and is not accepted.",
            "Choose an adapter with .safetensors files.",
        )
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if name not in sizes:
            raise UserError(f"{hub_id} has no {name}: it is no adapter.", "Check the spelling: organisation/adapter.")
    size = sum(sizes.get(name, 0) for name in ADAPTER_FILES)
    if size > limit:
        raise UserError(
            f"{hub_id} has {size / 1e6:,.0f} MB; at most {limit / 1e6:,.0f} MB are taken.",
            "Ask for STUDIO_UPLOAD_LIMIT_MB to be raised.",
        )


def read_config(hub_id: str, timeout: float) -> dict[str, object]:
    """A model's config.json from the Hub, without its weights. Raises UserError."""
    import httpx
    from huggingface_hub import constants, get_token

    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"{constants.ENDPOINT}/{hub_id}/resolve/main/config.json"
    try:
        answer = httpx.get(url, headers=headers, timeout=timeout, follow_redirects=True)
        raise_for_status(answer.status_code, hub_id)
        config = answer.json()
    except network_errors(ValueError):
        raise UserError(
            f"The model hub does not answer, so the config.json of {hub_id} cannot be read.",
            "Check the network, choose a well-known model, or give a config.json of this machine.",
        ) from None
    if not isinstance(config, dict):
        raise UserError(f"The config.json of {hub_id} is not an object.", "Choose another model.")
    return config
