"""Keys for the API: made once, shown once, kept as hashes in files that only their owner can read."""

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass

from studio.errors import UserError
from studio.workspace import Workspace, new_id, read_json, write_text

PREFIX = "sk-studio-"
KEY_BYTES = 32  # of randomness: nothing that can be guessed, so one round of SHA-256 hides it well enough
LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is kept of a key. `ending`: its last four characters, to tell it by; `created`: seconds since 1970."""

    id: str
    name: str
    ending: str
    created: float
    sha256: str


def new_key(workspace: Workspace, name: str) -> tuple[ApiKey, str]:
    """(what is kept, the key itself): nobody can read the key a second time. Raises UserError for an empty name."""
    name = " ".join(name.split())[:LONGEST_NAME]
    if not name:
        raise UserError("A key needs a name.", "Say what will use it, such as: my notebook.")
    text = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    key = ApiKey(id=new_id(name), name=name, ending=text[-4:], created=round(time.time(), 3), sha256=_hash(text))
    workspace.api_keys.mkdir(mode=0o700, exist_ok=True)
    write_text(workspace.api_key(key.id), json.dumps(asdict(key), ensure_ascii=False), mode=0o600)
    return key, text


def list_keys(workspace: Workspace) -> list[ApiKey]:
    """All keys, the newest first."""
    if not workspace.api_keys.is_dir():
        return []
    values = [read_json(file) for file in workspace.api_keys.glob("[!.]*.json")]
    return sorted((ApiKey(**value) for value in values if value), key=lambda key: key.created, reverse=True)


def revoke_key(workspace: Workspace, key_id: str) -> None:
    """Make a key worthless at once. Raises UserError when there is none of that id."""
    try:
        workspace.api_key(key_id).unlink()
    except FileNotFoundError:
        raise UserError(f"There is no key {key_id!r}.", "`python -m studio api-key list` shows them.") from None


def is_valid(workspace: Workspace, text: str) -> bool:
    """Whether `text` is one of the keys. It takes as long for a wrong one as for a right one."""
    given = _hash(text)
    # A list, not a generator: every key is compared.
    return any([hmac.compare_digest(given, key.sha256) for key in list_keys(workspace)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
