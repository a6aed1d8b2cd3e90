"""The model hub, in sentences: whether a model is there, and why not."""

from pathlib import Path

from studio.errors import UserError

FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
         "tokenizer*", "special_tokens_map.json", "*.jinja", "vocab.*", "merges.txt")  # fmt: skip


def check_hub_model(hub_id: str, timeout: float) -> None:
    """Return when the Hub has `hub_id` and lets us read it. Raises UserError: unknown, gated, no network …"""
    import httpx
    from huggingface_hub import constants, get_token

    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"{constants.ENDPOINT}/{hub_id}/resolve/main/config.json"
    try:
        status = httpx.head(url, headers=headers, timeout=timeout, follow_redirects=True).status_code
    except httpx.HTTPError:
        raise UserError(
            f"The model hub does not answer, so {hub_id} cannot be fetched.",
            "Check the network, use the starter model, or give the folder of a model on this machine.",
        ) from None
    raise_for_status(status, hub_id)


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
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = snapshot_download(hub_id, allow_patterns=list(FILES), local_dir=folder)
    except HfHubHTTPError as error:
        raise_for_status(error.response.status_code if error.response is not None else 500, hub_id)
        raise
    except (LocalEntryNotFoundError, httpx.HTTPError):
        raise UserError(
            f"{hub_id} could not be fetched: the connection broke.", "Press Resume to go on where it stopped."
        ) from None
    return Path(path)


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
    except (httpx.HTTPError, ValueError):
        raise UserError(
            f"The model hub does not answer, so the config.json of {hub_id} cannot be read.",
            "Check the network, choose a well-known model, or give a config.json of this machine.",
        ) from None
    if not isinstance(config, dict):
        raise UserError(f"The config.json of {hub_id} is not an object.", "Choose another model.")
    return config
