"""The adapters of every kind on one resident base model: loaded on first use, switched without touching the base."""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoTokenizer, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

import studio.methods.bottleneck_layers  # noqa: F401 - PEFT learns of the adapter by this
from studio import workspace as names
from studio.base_models import fingerprint
from studio.errors import UserError
from studio.methods.objectives import OBJECTIVES
from studio.worker import checkpoints
from studio.worker.soft_prompts import SoftPrompt, load_soft_prompt
from studio.workspace import Workspace

BASE = "base"
ADAPTER_CONFIG = "adapter_config.json"


class AdapterShelf:
    """`use(name)` gives who speaks with that adapter, or without any for "base". One thread at a time.

    The base is never changed. Soft prompts only come before the text; other adapters live in twins of the base,
    one for each kind that PEFT knows, which share all its tensors.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base_folder: Path, workspace: Workspace
    ) -> None:
        self._model: Any = model.eval()
        self._workspace = workspace
        self._lock = threading.Lock()
        self._kinds: dict[str, PeftModel] = {}
        self._voices: dict[str, Voice] = {}
        self._base_name = base_folder.name
        self.fingerprint = fingerprint(base_folder)
        self.tokenizers: dict[str, PreTrainedTokenizerBase] = {BASE: tokenizer}
        self.end_tokens = _end_tokens(model, tokenizer)
        self.context = int(getattr(model.config, "max_position_embeddings", 0)) or 2048
        self._rooms = {BASE: self.context}

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
                f"The adapter of {name} was trained on another base model ({origin['base_model']}); "
                f"{self._base_name} is loaded.",
                f"Choose {origin['base_model']} for the chat.",
            )
        if OBJECTIVES[origin["objective"]].task_type != "CAUSAL_LM":
            raise UserError(
                f"The job {name} made a reward model: it gives marks and does not speak.", "Choose another."
            )
        return folder

    def room(self, name: str) -> int:
        """Tokens that a text and its answer may have; a soft prompt takes some of the context."""
        if name not in self._rooms:
            config = json.loads((self.find(name) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
            self._rooms[name] = self.context - int(config.get("num_virtual_tokens", 0))
        return self._rooms[name]

    @contextmanager
    def use(self, name: str) -> Iterator["Voice"]:
        """Who speaks with that adapter. Raises UserError when it cannot be loaded."""
        with self._lock:
            voice = Voice(self._model) if name == BASE else self._load(name)
            if isinstance(voice.model, PeftModel) and voice.model.active_adapter != name:
                voice.model.set_adapter(name)
            yield voice

    def _load(self, name: str) -> "Voice":
        if name not in self._voices:
            folder = self.find(name)
            config = PeftConfig.from_pretrained(folder)
            if config.is_prompt_learning:
                self._voices[name] = Voice(self._model, load_soft_prompt(folder, config, self._model))
            else:
                self._voices[name] = Voice(self._inject(name, folder, config.peft_type))
        return self._voices[name]

    def _inject(self, name: str, folder: Path, kind: str) -> PeftModel:
        """The PEFT model of one kind of adapter, with this one in it; PEFT does not mix kinds in one."""
        if kind not in self._kinds:
            self._kinds[kind] = PeftModel.from_pretrained(twin(self._model), folder, adapter_name=name)
        else:
            self._kinds[kind].load_adapter(folder, adapter_name=name)
        return self._kinds[kind].eval()


@dataclass(frozen=True)
class Voice:
    """A model that speaks: the base, or its twin with an adapter; with a soft prompt before the text or none."""

    model: Any
    prompt: SoftPrompt | None = None

    def begin(self, input_ids: torch.Tensor) -> tuple[DynamicCache, dict[str, Any]]:
        """(the cache to begin with, the model's inputs) for a text of input_ids (1, tokens)."""
        if self.prompt is None:
            return DynamicCache(), {"input_ids": input_ids}
        return self.prompt.begin(self.model, input_ids)


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """The same model once more: modules of its own, so that it can be changed, and every tensor shared.

    PEFT puts its layers into the model that it is given. In a twin they cost no memory but their own, and the
    model itself stays what it was.
    """
    shared: list[Any] = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        # bitsandbytes keeps scales and unpacked weights in objects beside the weights.
        shared += [vars(module)[name] for name in ("state", "quant_state") if name in vars(module)]
    return copy.deepcopy(model, {id(one): one for one in shared})


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ends = getattr(model.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
