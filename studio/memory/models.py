"""Well-known base models, so that an estimate needs no download."""

import json
from functools import cache
from pathlib import Path

import yaml

from studio import hub
from studio.base_models import model_folder, read_config
from studio.errors import UserError
from studio.memory.shapes import Config

DATA = Path(__file__).with_name("models.yaml")
COLUMNS = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings", "max_position_embeddings",
)  # fmt: skip
EXPERTS = {"mixtral": "num_local_experts", "qwen3_moe": "num_experts"}


@cache
def well_known() -> dict[str, Config]:
    """Hub id → what the formulas need of its config.json, in the order of the menu."""
    return {row[0]: _config(row) for row in yaml.safe_load(DATA.read_text(encoding="utf-8"))}


@cache
def parameter_counts() -> dict[str, int]:
    """Hub id → its published number of weights."""
    return {row[0]: row[-1] for row in yaml.safe_load(DATA.read_text(encoding="utf-8"))}


def find(name: str) -> Config:
    """The config of a model by Hub id or its last part, whatever the case and whether base or tuned for chat: both
    have one shape. Another organisation's model of that name is not meant. Raises UserError."""
    models = well_known()
    organisation, _, short = name.strip().lower().rpartition("/")
    wanted = _plain(short)
    same = [key for key in models if organisation in ("", key.lower().partition("/")[0])]
    found = next((key for key in same if _plain(key.lower().rpartition("/")[2]) == wanted), None)
    if found is None and f"{organisation}/{wanted}" in ALIASES:
        found = ALIASES[f"{organisation}/{wanted}"]
    if found is None and not organisation:
        found = next((key for alias, key in ALIASES.items() if alias.rpartition("/")[2] == wanted), None)
    if found is None:
        raise UserError(
            f"{name!r} is not among the well-known models, and its config.json is not on this machine.",
            "Give its config.json, or fetch the model first.",
        )
    return models[found]


ALIASES = {
    "meta-llama/llama-3.3-70b": "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/meta-llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/meta-llama-3.1-70b": "meta-llama/Llama-3.1-70B-Instruct",
}
"""Plain Hub ids of models that have the very shape of another, the longest sequence included."""


def _plain(short: str) -> str:
    """A model's name without what its tuning or its file format adds."""
    for end in ENDS:
        if short.endswith(end) and short != end:
            return _plain(short.removesuffix(end))
    return short


ENDS = ("-hf", "-it", "-pt", "-instruct", "-chat", "-base")


def _config(row: list[object]) -> Config:
    config: Config = dict(zip(COLUMNS, row[1:11], strict=True))
    if row[11]:
        config |= {EXPERTS[str(row[1])]: row[11], "num_experts_per_tok": row[12]}
        config["moe_intermediate_size"] = config["intermediate_size"]
    return config


def config_of(name: str, models: Path, *, hub_timeout: float = 10.0, roots: tuple[Path, ...] | None = None) -> Config:
    """The config of the base model called `name`: here, well known, or on the Hub. No weights are fetched.

    `models`: the workspace's folder of models. `roots`: where local folders may lie. Raises UserError.
    """
    wanted = name.strip()
    try:
        return find(wanted)
    except UserError:
        folder = model_folder(wanted, models, roots)
    return read_config(folder) if folder else hub.read_config(wanted, hub_timeout)


def read_config_file(path: Path) -> Config:
    """The config in a file, or in the model folder at `path`. Raises UserError."""
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {file}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.", "Give a model's config.json.") from None
    if not isinstance(config, dict) or not config.get("model_type"):
        raise UserError(f"{file} names no model_type.", "Give a model's config.json.")
    return config
