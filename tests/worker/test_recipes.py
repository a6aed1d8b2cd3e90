"""The examples of the recipes, docs/adding-a-*.md, train: one job of two steps with both of them."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from safetensors.torch import load_file

from studio import workspace as names
from studio.data.dataset import read_record
from studio.jobs import spec as spec_module
from studio.jobs.events import EventWriter, Finished
from studio.jobs.preflight import check_combination, check_data
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.worker import train
from studio.worker.stop import StopSwitch
from studio.workspace import new_id
from tests.conftest import import_rows, write_rows
from tests.test_docs import load_example
from tests.worker.conftest import of_kind, values_of

pytestmark = pytest.mark.slow


@pytest.fixture
def build_spec(tmp_path, monkeypatch):
    """`build_spec` as it is with the two lines in the registries: its unions are made when its file is imported."""
    objective = load_example("objective", tmp_path).LAST_ANSWER
    tuner = load_example("tuner", tmp_path).LN_TUNING
    monkeypatch.setitem(OBJECTIVES, objective.name, objective)
    monkeypatch.setitem(TUNERS, tuner.name, tuner)
    found = spec_from_file_location("spec_with_examples", spec_module.__file__)
    module = module_from_spec(found)
    monkeypatch.setitem(sys.modules, found.name, module)
    found.loader.exec_module(module)
    return module.build_spec


def test_the_examples_of_an_objective_and_of_a_tuner_train(lab, build_spec, tmp_path):
    talk = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, "abcd", strict=True)]
    dataset = import_rows(lab.workspace, write_rows(tmp_path / "talks.jsonl", [{"messages": talk}] * 8))
    spec = build_spec(
        {
            "dataset": dataset, "base_model": str(lab.model), "max_steps": 2, "max_length": 64, "eval_share": 0,
            "learning_rate": 0.01, "warmup_steps": 0, "objective": {"name": "last_answer", "loss_type": "dft"},
            "tuner": {"name": "ln_tuning", "norms": "blocks"},
        }
    )  # fmt: skip
    check_data(spec, read_record(lab.workspace.dataset(dataset["id"])), 8)
    check_combination(spec)
    folder = lab.workspace.job(new_id("recipe"))
    folder.mkdir()
    (folder / names.SPEC).write_text(spec_module.spec_text(spec), encoding="utf-8")
    train.run(folder, spec, EventWriter(folder / names.EVENTS), StopSwitch())
    losses = values_of(folder, "loss")
    assert len(losses) == 2
    assert losses[0] != losses[1]
    assert of_kind(folder, Finished)
    learned = load_file(folder / names.ADAPTER / "adapter_model.safetensors")
    base = load_file(lab.model / "model.safetensors")
    assert len(learned) == 4, "two norms in each of two layers, and not the last one"
    for name, weight in learned.items():
        own = name.removeprefix("base_model.model.").replace(".ln_tuning_layers", "")
        assert not weight.equal(base[own]), name
