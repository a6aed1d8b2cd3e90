"""The adapters of every kind on one resident base model: loaded on first use, forgotten when others need the room."""

import copy
import gc
import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from studio.base_models import fingerprint
from studio.data.chat_template import PLAIN_TEMPLATE
from studio.errors import UserError
from studio.worker import adapter_files, packed_rows
from studio.worker.budget import Budget
from studio.worker.lora_rows import LoraSwitch, LoraWeights, Span, read_lora
from studio.worker.soft_prompts import SoftPrompt, load_soft_prompt
from studio.workspace import Workspace

BASE = "base"
DEFAULT_BUDGET = Budget(1 << 30)
ONE_AT_A_TIME = "Models of this architecture answer one conversation after another, a token at a time."


@dataclass(frozen=True, eq=False, kw_only=True)
class Voice:
    """Who speaks: a model, with LoRA weights switched on in it or a soft prompt before the text.

    `mixes`: whether it may share a pass with other voices of the same model object. `room`: tokens that a text and
    its answer may have. `notes`: what a user should know of it, in sentences. `size`: bytes beside the base's.
    """

    name: str
    model: Any
    tokenizer: PreTrainedTokenizerBase
    chat_template: str
    room: int
    lora: LoraWeights | None = None
    prompt: SoftPrompt | None = None
    mixes: bool = False
    size: int = 0
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] = (0, 0)

    @property
    def spans(self) -> Sequence[Span]:
        """For a pass that is all this voice's."""
        return [Span(0, None, self.lora)] if self.lora else []

    def begin(self, input_ids: torch.Tensor) -> tuple[DynamicCache, dict[str, Any]]:
        """(the cache to begin with, the model's inputs) for a text of input_ids (1, tokens)."""
        if self.prompt is None:
            return DynamicCache(config=self.model.config), {"input_ids": input_ids}
        return self.prompt.begin(self.model, input_ids)


@dataclass
class _Place:
    voice: Voice
    used: int


class AdapterShelf:
    """`voice(name)` gives who speaks with that adapter, or without any for "base". Safe to ask from any thread.

    The base is never changed. LoRA is added token by token in one twin of it, soft prompts come before the text
    there; every other adapter has a twin of its own. Twins share all tensors of the base.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        base_folder: Path,
        workspace: Workspace,
        *,
        budget: Budget = DEFAULT_BUDGET,
    ) -> None:
        self._model: Any = model.eval()
        self._workspace, self._budget = workspace, budget
        self._loading, self._speaking = threading.RLock(), threading.Lock()
        self._places: dict[str, _Place] = {}
        self._clock = itertools.count()
        self._tokenizers: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        self._base_name = base_folder.name
        self.fingerprint = fingerprint(base_folder)
        self.packs = packed_rows.can_pack(model.config)
        self._twin = self._new_twin()
        self.switch = LoraSwitch(self._twin)
        self.end_tokens = _end_tokens(model, tokenizer)
        self.context = int(getattr(model.config, "max_position_embeddings", 0)) or 2048
        self.vocabulary = model.get_input_embeddings().weight.shape[0]
        self._base = Voice(
            name=BASE,
            model=self._twin,
            tokenizer=tokenizer,
            chat_template=tokenizer.chat_template or PLAIN_TEMPLATE,
            room=self.context,
            mixes=self.packs,
            notes=() if self.packs else (ONE_AT_A_TIME,),
        )

    @property
    def loaded(self) -> list[str]:
        """What can be used without loading."""
        return [BASE, *self._places]

    @property
    def size(self) -> int:
        """Bytes of the adapters that are loaded."""
        return sum(place.voice.size for place in list(self._places.values()))

    @property
    def base_model(self) -> Any:
        return self._model

    @property
    def device(self) -> torch.device:
        return torch.device(self._model.device)

    @property
    def base_size(self) -> int:
        """Bytes of the base model."""
        return _bytes([*self._model.parameters(), *self._model.buffers()])

    def tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """The tokenizer, with chat template, that an adapter was trained with. Raises UserError."""
        return self.voice(name).tokenizer

    def room(self, name: str) -> int:
        """Tokens that a text and its answer may have; a soft prompt takes some of the context. Raises UserError."""
        return self.voice(name).room

    def find(self, name: str) -> Path:
        """The folder of an adapter, whole and made for this base. Raises UserError."""
        return adapter_files.find_adapter(name, self._workspace, self.fingerprint, self._base_name)

    def voice(self, name: str) -> Voice:
        """Who speaks with that adapter, loaded when it is not yet. Raises UserError when it cannot be."""
        if name == BASE:
            return self._base
        stamp = adapter_files.stamp(self._workspace.adapter_folder(name))
        place = self._places.get(name)
        if place is None or place.voice.stamp != stamp:  # it is new, or its job went on since
            with self._loading:
                place = self._place(name, stamp)
        place.used = next(self._clock)
        return place.voice

    def _place(self, name: str, stamp: tuple[int, int]) -> "_Place":
        place = self._places.get(name)
        if place is None or place.voice.stamp != stamp:
            self._drop(name)
            place = _Place(self._load(name), next(self._clock))
            self._make_room(place.voice.size)
            self._places[name] = place
        return place

    @contextmanager
    def use(self, name: str) -> Iterator[Voice]:
        """Who speaks with that adapter, ready for whole passes. One at a time."""
        voice = self.voice(name)
        with self._speaking, self.switch.set(voice.spans):
            yield voice

    def _make_room(self, size: int) -> None:
        """Forget adapters, those used longest ago first, until one of `size` bytes fits; one always does."""
        most = self._budget.most(self.size + size)  # it is loaded already
        while self._places and self.size + size > most:
            self._drop(min(self._places, key=lambda name: self._places[name].used))

    def _drop(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is not None and place.voice.model is not self._twin:
            del place
            gc.collect()  # the modules of a twin point at each other

    def _load(self, name: str) -> Voice:
        folder = self.find(name)
        config = adapter_files.read_config(name, folder)
        if getattr(config, "use_dora", False) and getattr(self._model, "is_loaded_in_8bit", False):
            raise UserError(
                f"{name} is a DoRA adapter, and PEFT cannot read the weights of a base model that is held in 8 bits.",
                "Hold base models in 4 bits or as trained: see the Playground.",
            )
        tokenizer, template, notes = self._tokenizer(name, folder)
        notes = (*notes, *self._base.notes)
        common: dict[str, Any] = {
            "name": name,
            "tokenizer": tokenizer,
            "chat_template": template,
            "room": self.context - int(getattr(config, "num_virtual_tokens", None) or 0),
            "stamp": adapter_files.stamp(folder),
        }
        if config.is_prompt_learning:
            prompt = load_soft_prompt(folder, config, self._model)
            return Voice(**common, model=self._twin, prompt=prompt, mixes=self.packs, size=prompt.size, notes=notes)
        lora = read_lora(folder / adapter_files.WEIGHTS, config, self._twin)
        if lora is not None:
            return Voice(**common, model=self._twin, lora=lora, mixes=self.packs, size=lora.size, notes=notes)
        model = self._inject(name, folder)
        shared = {id(one) for one in (*self._model.parameters(), *self._model.buffers())}
        own = [one for one in (*model.parameters(), *model.buffers()) if id(one) not in shared]
        alone = (
            ()
            if not self.packs
            else (f"Adapters of the kind {config.peft_type.value} take their own turn beside others.",)
        )
        return Voice(**common, model=model, size=_bytes(own), notes=(*notes, *alone))

    def _inject(self, name: str, folder: Path) -> PeftModel:
        """A twin of the base with PEFT's layers in it. Raises UserError when they do not fit."""
        try:
            adapted = PeftModel.from_pretrained(self._new_twin(), folder, adapter_name="default").eval()
        except (ValueError, RuntimeError, KeyError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UserError(
                f"The adapter of {name} does not fit the model: {str(error).splitlines()[0]}",
                "Choose an adapter of this base model.",
            ) from None
        if getattr(self._model, "hf_quantizer", None) is not None and self._model.dtype != torch.float32:
            # Beside quantized weights some of PEFT's layers answer in float32, or not at all, but under autocast.
            adapted.forward = torch.autocast(self.device.type, self._model.dtype)(adapted.forward)
        return adapted

    def _new_twin(self) -> Any:
        model = twin(self._model)
        if self.packs:
            model.set_attn_implementation(packed_rows.ATTENTION)
        return model

    def _tokenizer(self, name: str, folder: Path) -> tuple[PreTrainedTokenizerBase, str, tuple[str, ...]]:
        """(the adapter's tokenizer, its chat template, what to say of them); the same files make one object."""
        base = self._base
        key = adapter_files.tokenizer_key(folder)
        if not key:
            return base.tokenizer, base.chat_template, ("It brings no tokenizer: the base model's is used.",)
        tokenizer = self._tokenizers.get(key)
        if tokenizer is None:
            tokenizer = self._tokenizers[key] = adapter_files.load_tokenizer(name, folder)
        if tokenizer.chat_template is None:
            return tokenizer, base.chat_template, ("It brings no chat template: the base model's is used.",)
        return tokenizer, tokenizer.chat_template, ()


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


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values())


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ends = getattr(model.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
