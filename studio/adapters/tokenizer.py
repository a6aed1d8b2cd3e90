"""The tokenizer that an adapter brings, or a copy of its base's: without names of code or files, and tried once."""

import json
import shutil
from pathlib import Path
from typing import Any

from studio.adapters.bundle import TOKENIZER, Bundle
from studio.data.chat_template import ChatTokenizer
from studio.data.template_time import template_time
from studio.errors import UserError

LARGEST = 256 * 1024**2  # bytes of one file
CONFIG = "tokenizer_config.json"


def put_tokenizer(bundle: Bundle, folder: Path, base: Path, vocabulary: int) -> bool:
    """Write tokenizer and template into an adapter's `folder`; whether they are its own. Raises UserError.

    `vocabulary`: how many tokens the base model knows. What is brought is tried on a conversation, so that a
    template that never ends is found here, in a child process, and not while somebody chats.
    """
    brought = [name for name in TOKENIZER if name in bundle.members]
    if "tokenizer.json" not in brought:
        for name in TOKENIZER:
            if (base / name).is_file():
                shutil.copyfile(base / name, folder / name)
        return False
    for name in brought:
        _copy(bundle, name, folder)
    _try(folder, vocabulary)
    return True


def _copy(bundle: Bundle, name: str, folder: Path) -> None:
    member = bundle.members[name]
    if member.size > LARGEST:
        raise UserError(f"{name} has {member.size / 1e6:,.0f} MB, too much for a tokenizer.", "Leave it out.")
    with member.open_bytes() as stream:
        content = stream.read(LARGEST + 1)[:LARGEST]
    if name.endswith(".json"):
        content = json.dumps(_harmless(name, content), ensure_ascii=False).encode("utf-8", "backslashreplace")
    (folder / name).write_bytes(content)


def _harmless(name: str, content: bytes) -> Any:
    """The JSON without what names Python code, or files beside the tokenizer's own."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise UserError(
            f"{name} is not valid JSON.", "Copy or download it again, or leave the tokenizer out."
        ) from None
    if name == CONFIG and isinstance(value, dict):
        return {
            key: one for key, one in value.items() if key not in ("auto_map", "name_or_path") and key[-5:] != "_file"
        }
    return value


def _try(folder: Path, vocabulary: int) -> None:
    chat = ChatTokenizer(folder, "model" if _has_template(folder) else "plain")
    ids = _ids(folder)
    if max(ids, default=0) >= vocabulary > 0:
        raise UserError(
            f"Its tokenizer has tokens up to {max(ids):,}; the base model knows {vocabulary:,}.",
            "Choose the base model that it was trained on, or leave the tokenizer out.",
        )
    with template_time():
        chat.render([{"role": "user", "content": "Hello"}], add_generation_prompt=True)


def _ids(folder: Path) -> list[int]:
    """The numbers of all tokens, as the file has them. Raises UserError when it is none."""
    file = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    try:
        vocabulary, added = file["model"]["vocab"], file.get("added_tokens") or []
        # A Unigram model lists its tokens, the others number them.
        listed = range(len(vocabulary)) if isinstance(vocabulary, list) else vocabulary.values()
        return [int(number) for number in (*listed, *(token["id"] for token in added))]
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UserError("tokenizer.json is not one of the tokenizers library.", "Leave the tokenizer out.") from None


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / CONFIG
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
