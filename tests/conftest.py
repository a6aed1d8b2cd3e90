"""What the tests share: a tiny random model, a workspace, small data sets."""

import gc
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from studio.catalog import Catalog
from studio.data import isolation
from studio.data.dataset import RECORD
from studio.data.isolation import import_file
from studio.jobs.presets import read_presets
from studio.jobs.spec import TrainSpec, build_spec
from studio.jobs.store import JobStore
from studio.jobs.studio import Studio
from studio.settings import Settings
from studio.workspace import Workspace, write_json
from tests.reading import STAND_IN

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # as in a worker (studio/settings.py); before anything imports torch
isolation.subprocess = STAND_IN  # type: ignore[assignment,misc]  # foreign files are read in this process
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would each compile the studio anew

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
    " + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = ["the keeper of the lamp is lit and tea gulls fog sea log book what is a question answer good bad"]


def make_tiny_model(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """A random Llama of 100,000 parameters with a byte-level tokenizer and a ChatML template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=special[1],
        eos_token=special[2],
        pad_token=special[2],
        unk_token=special[0],
        chat_template=CHATML,
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: the processes take one file after another, and none should be left over at the end."""
    first = ("tests/browser/", "tests/worker/")
    items.sort(key=lambda item: next((i for i, start in enumerate(first) if item.nodeid.startswith(start)), len(first)))
    for item in items:
        if item.get_closest_marker("browser"):
            # A page that was waited for in vain, on a machine that is busy, is tried once more, and told of.
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["TimeoutError"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One of three processes has the browser to itself: pages do not wait for each other. The others have the rest.

    Three for two cores: each waits a third of its time, for a page or for a worker that it started.
    """
    from xdist.scheduler import LoadFileScheduling

    class OneBrowser(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "tests/browser" if file.startswith("tests/browser/") else file

    return OneBrowser(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """What is collected stays: the garbage collector need not look through thousands of tests again and again."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help="note anew what the tests of the matrix see")


@pytest.fixture(scope="session")
def write_matrix(request: pytest.FixtureRequest) -> bool:
    """Whether tests/worker/matrix.json is to be written."""
    return bool(request.config.getoption("--write-matrix"))


@pytest.fixture(autouse=True)
def _reading(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the child is what is tested, foreign files are read in one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("child"):
            patch.setattr(isolation, "subprocess", subprocess)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").prepare()


@pytest.fixture
def settings(workspace: Workspace) -> Settings:
    return Settings(workspace=workspace.root)


@pytest.fixture
def studio(workspace: Workspace, settings: Settings) -> Studio:
    """A studio whose queue nobody keeps."""
    catalog = Catalog(workspace.catalog)
    return Studio(settings, workspace, catalog, JobStore(workspace, catalog))


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Rows as JSON Lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def instruction_rows(count: int = 24) -> list[dict]:
    return [
        {
            "instruction": f"what is question {i}",
            "input": "",
            "output": f"the lamp is lit and tea {i} is good " * (1 + i % 3),
        }
        for i in range(count)
    ]


def preference_rows(count: int = 24) -> list[dict]:
    return [
        {"prompt": f"what is question {i}", "chosen": f"the lamp {i} is lit", "rejected": f"fog and gulls {i}, bad tea"}
        for i in range(count)
    ]


@pytest.fixture
def instructions(workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    """A reference to an instruction data set in the workspace."""
    return import_rows(workspace, write_rows(tmp_path / "instructions.jsonl", instruction_rows()))


@pytest.fixture
def preferences(workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    """A reference to a preference data set in the workspace."""
    return import_rows(workspace, write_rows(tmp_path / "preferences.jsonl", preference_rows()))


IMPORTED: dict[tuple[str, bytes], bytes] = {}  # (name, content of a file) → its data set, as a tar


def import_rows(workspace: Workspace, file: Path) -> dict[str, str]:
    """A file as a data set of a workspace. The same file is read once: a process for each is what tests wait for."""
    known = (file.name, file.read_bytes())
    if known in IMPORTED:
        with tarfile.open(fileobj=BytesIO(IMPORTED[known])) as kept:
            folder = workspace.datasets / kept.getnames()[0]
            if not folder.exists():
                kept.extractall(workspace.datasets, filter="data")
                record = {**json.loads((folder / RECORD).read_text()), "created": datetime.now(UTC).isoformat()}
                write_json(folder / RECORD, record)
                return {"id": record["id"], "sha256": record["sha256"]}
    record = import_file(file, workspace).record
    assert record is not None
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as keeping:
        keeping.add(workspace.dataset(record.id), record.id)
    IMPORTED[known] = packed.getvalue()
    return {"id": record.id, "sha256": record.sha256}


def tiny_spec(preset: str, dataset: dict[str, str], model: Path, **changes) -> TrainSpec:
    """A preset cut down to a few steps on the tiny model."""
    values = read_presets()[preset].values(dataset)
    small = {"base_model": str(model), "max_steps": 3, "max_length": 96, "save_steps": 2, "eval_steps": 2}
    return build_spec({**values, **small, **changes})
