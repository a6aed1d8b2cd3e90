"""The adapters on one resident base model: loaded on first use, switched without touching the base."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from studio import workspace as names
from studio.base_models import fingerprint
from studio.errors import UserError
from studio.worker import checkpoints
from studio.workspace import Workspace

BASE = "base"


class AdapterShelf:
    """`use(name)` gives the model with that adapter, or without any for "base". One thread at a time."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base_folder: Path, workspace: Workspace
    ) -> None:
        self._model: Any = model.eval()
        self._workspace = workspace
        self._lock = threading.Lock()
        self.fingerprint = fingerprint(base_folder)
        self.tokenizers: dict[str, PreTrainedTokenizerBase] = {BASE: tokenizer}
        self.end_tokens = _end_tokens(model, tokenizer)
        self.context = int(getattr(model.config, "max_position_embeddings", 0)) or 2048

    @property
    def loaded(self) -> list[str]:
        """What can be used without loading."""
        return list(self.tokenizers)

    def tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """The tokenizer, with chat template, that an adapter was trained with. Raises UserError."""
        if name not in self.tokenizers:
            folder = self.find(name)
            self.tokenizers[name] = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return self.tokenizers[name]

    def find(self, name: str) -> Path:
        """The folder of a job's adapter, whole and made for this base. Raises UserError."""
        folder = self._workspace.job(name) / names.ADAPTER
        if not folder.is_dir():
            raise UserError(f"The job {name} has no adapter.", "Let it finish, or choose another.")
        checkpoints.verify(folder)
        origin = json.loads((folder / names.ORIGIN).read_text(encoding="utf-8"))
        if origin["base_fingerprint"] != self.fingerprint:
            raise UserError(
                f"The adapter of {name} was trained on another base model ({origin['base_model']}).",
                "Choose that base model for the chat.",
            )
        return folder

    @contextmanager
    def use(self, name: str) -> Iterator[Any]:
        """The model with one adapter active. Raises UserError when it cannot be loaded."""
        with self._lock:
            if name == BASE:
                if isinstance(self._model, PeftModel):
                    with self._model.disable_adapter():
                        yield self._model
                else:
                    yield self._model
                return
            self._activate(name)
            yield self._model

    def _activate(self, name: str) -> None:
        if not isinstance(self._model, PeftModel):
            self._model = PeftModel.from_pretrained(self._model, self.find(name), adapter_name=name)
            self._model.eval()
        elif name not in self._model.peft_config:
            self._model.load_adapter(self.find(name), adapter_name=name)
            self._model.eval()
        if self._model.active_adapter != name:
            self._model.set_adapter(name)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ends = getattr(model.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
