"""An adapter from outside → the folder that a job would have left. Runs in a child: what it reads may be anything."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from studio import workspace as names
from studio.adapters.bundle import CONFIG, WEIGHTS, Bundle, open_bundle
from studio.adapters.configuration import LARGEST, Stated, read_configuration, written
from studio.adapters.fitting import BaseShapes, Layout, Shape, check_fit, lay_out, modules_named
from studio.adapters.manifest import write_manifest
from studio.adapters.record import RECORD, AdapterRecord, ImportSource
from studio.adapters.tensor_file import Tensor, read_header, row_blocks
from studio.adapters.tokenizer import put_tokenizer
from studio.base_models import HUB_ID, STARTER, fingerprint, model_folder
from studio.errors import UserError
from studio.workspace import write_json

Tell = Callable[[float, dict[str, Any]], None]
BLOCK = 4 * 1024**2  # bytes copied at a time
FLOATS = ("F32", "F16", "BF16", "F64")
INDICES = ("I32", "I64")
LEFT_NAMED = 20  # names of files that were left out


def take_in(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Check the files `paths` and write record.json and adapter/ into `folder`. Raises UserError.

    `base_model` and `bases` (name → folder): the base that the user chose, and what is on this machine; "" takes the
    one that the adapter names. `name`, `source`, `id`: for the record. `limit`: bytes that it may have.
    """
    paths, folder = [Path(path) for path in request["paths"]], Path(request["folder"])
    adapter = folder / names.ADAPTER
    adapter.mkdir()
    with open_bundle(paths, request["limit"]) as bundle:
        stated = read_configuration(_small(bundle, CONFIG))
        base_name, base_folder = _base(stated, request["base_model"], request["bases"])
        _check_origin(bundle, base_folder, base_name)
        tell(0.02, {"phase": "copying", "tuner": stated.kind.tuner, "base_model": base_name})
        _copy(bundle, adapter / WEIGHTS, request["limit"], tell)
        base = BaseShapes(base_folder, _shown(base_name))
        layout = _checked(adapter / WEIGHTS, stated, base, tell)
        own = put_tokenizer(bundle, adapter, base_folder, _vocabulary(base))
        left = bundle.left
    modules = modules_named(layout, base) if layout.parts else []
    write_json(adapter / CONFIG, written(stated, str(base_folder), modules))
    tell(0.95, {"phase": "signing"})
    write_json(adapter / names.ORIGIN, _origin(request["id"], base_name, base_folder, stated))
    size = write_manifest(adapter)
    record = AdapterRecord(
        id=request["id"],
        name=request["name"],
        base_model=base_name,
        source=ImportSource(**request["source"]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tuner=stated.kind.tuner,
        files=sorted(file.name for file in adapter.iterdir()),
        bytes=size,
        says_base=stated.says_base,
        tokenizer="own" if own else "base",
        left_out=[*stated.left_out, *(name[:200] for name in left[:LEFT_NAMED])],
    )
    write_json(folder / RECORD, record.model_dump())
    return record.model_dump()


def _origin(adapter_id: str, base_name: str, base_folder: Path, stated: Stated) -> dict[str, str]:
    """What a job writes beside its adapter; nobody knows the rows that this one learned from."""
    return {
        "job": "",
        "imported": adapter_id,
        "base_model": base_name,
        "base_fingerprint": fingerprint(base_folder),
        "chat_template": "model",
        "dataset_sha256": "",
        "objective": "sft",
        "tuner": stated.kind.tuner,
    }


def _base(stated: Stated, chosen: str, bases: dict[str, str]) -> tuple[str, Path]:
    """(name, folder) of the base model. Raises UserError when nobody has named one that is here."""
    if chosen:
        return chosen, Path(bases[chosen])
    said = stated.says_base
    for name, folder in bases.items():
        if said in (name, folder) or (name == "starter" and said.rpartition("/")[2].lower() == STARTER.lower()):
            return name, Path(folder)
    cached = model_folder(said, Path()) if HUB_ID.fullmatch(said) else None
    if cached is not None:
        return said, cached
    raise UserError(
        f"The adapter was trained on {said!r}, which is not on this machine."
        if said
        else "The adapter does not say its base model.",
        "Choose its base model from the list; it is compared with the adapter's shapes.",
    )


def _check_origin(bundle: Bundle, base_folder: Path, base_name: str) -> None:
    """What a studio notes beside an adapter tells two base models of one shape apart. Raises UserError."""
    if names.ORIGIN not in bundle.members:
        return
    try:
        origin = json.loads(_small(bundle, names.ORIGIN).decode("utf-8"))
    except (ValueError, RecursionError):
        origin = None
    if not isinstance(origin, dict):
        raise UserError(f"{names.ORIGIN} is not valid JSON.", "Copy it again, or leave it out.")
    told = origin.get("base_fingerprint")
    if told and told != fingerprint(base_folder):
        raise UserError(
            f"The adapter was trained on other weights than those of {_shown(base_name)}, which has the same shape.",
            f"Choose the base it was trained on: {str(origin.get('base_model'))[:80]!r}.",
        )


def _copy(bundle: Bundle, target: Path, limit: int, tell: Tell) -> None:
    member, copied = bundle.members[WEIGHTS], 0
    free = shutil.disk_usage(target.parent).free
    if member.size > free:
        raise UserError(
            f"The adapter has {member.size / 1e6:,.0f} MB; {free / 1e6:,.0f} MB are free.", "Free some disk space."
        )
    with member.open_bytes() as stream, target.open("wb") as output:
        while block := stream.read(BLOCK):
            copied += len(block)
            if copied > limit:
                raise UserError(f"{WEIGHTS} is larger than it says.", "Copy or download it again.")
            output.write(block)
            tell(0.02 + 0.5 * min(1.0, copied / max(1, member.size)), {"phase": "copying", "bytes": copied})


def _checked(file: Path, stated: Stated, base: BaseShapes, tell: Tell) -> Layout:
    """The adapter's tensors: whole, of its kind, fitting the base, and numbers all of them. Raises UserError."""
    tensors = read_header(file)
    layout = lay_out(tensors, stated)
    check_fit(layout, stated, base)
    done, total = 0, max(1, sum(tensor.size for tensor in tensors.values()))
    for name, tensor in tensors.items():
        indices = name.endswith("shira_indices")
        if tensor.dtype not in (INDICES if indices else FLOATS):
            raise UserError(f"{name} has the type {tensor.dtype}.", "Save the adapter in 16 or 32 bits.")
        _check_values(name, tensor, base.shape(_module(name)) if indices else None)
        done += tensor.size
        tell(0.55 + 0.35 * done / total, {"phase": "checking"})
    return layout


def _check_values(name: str, tensor: Tensor, inside: Shape | None) -> None:
    for row, block in row_blocks(tensor):
        if not np.isfinite(block).all():
            raise UserError(f"{name} holds values that are no numbers.", "The training has gone wrong; train again.")
        # Row 0 of the indices are rows of the weight, row 1 its columns.
        if inside and not ((block >= 0).all() and all((block[i] < inside[row + i]).all() for i in range(len(block)))):
            raise UserError(f"{name} points outside the weight that it is for.", "Copy or download the adapter again.")


def _module(key: str) -> str:
    return key.removeprefix("base_model.model.").rpartition(".")[0]


def _small(bundle: Bundle, name: str) -> bytes:
    with bundle.members[name].open_bytes() as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UserError(f"{name} is too large for a configuration.", "Copy or download it again.")
    return content


def _vocabulary(base: BaseShapes) -> int:
    inner = base.config.get("text_config")
    found = (inner if isinstance(inner, dict) else base.config).get("vocab_size")
    return found if isinstance(found, int) else 0


def _shown(base_name: str) -> str:
    return STARTER if base_name == "starter" else base_name.rstrip("/").rpartition("/")[2]
