"""Every preset that ships learns: two steps on the tiny model, with the kind of rows that it is for."""

import math

import pytest

from studio import workspace as names
from studio.data.dataset import read_record
from studio.jobs.events import Finished
from studio.jobs.preflight import check_combination, check_data
from studio.jobs.presets import GROUPS, read_presets
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.worker import checkpoints
from tests.conftest import import_rows, write_rows
from tests.worker.conftest import of_kind, values_of

PRESETS = read_presets()


@pytest.fixture(scope="module")
def datasets(lab, tmp_path_factory):
    """{dataset type: a data set of that type}, and raw text."""
    folder = tmp_path_factory.mktemp("rows")
    liked = [{"prompt": f"what is {i}", "completion": f"tea {i}", "label": bool(i % 2)} for i in range(24)]
    texts = [{"text": f"the sea {i} and the fog and the lamp"} for i in range(12)]
    return {
        "prompt_completion": lab.instructions,
        "preference": lab.preferences,
        "unpaired_preference": import_rows(lab.workspace, write_rows(folder / "liked.jsonl", liked)),
        "language_modeling": import_rows(lab.workspace, write_rows(folder / "texts.jsonl", texts)),
    }


def dataset_for(preset, datasets):
    if preset == "continued_pretraining":
        return datasets["language_modeling"]
    kinds = OBJECTIVES[PRESETS[preset].values()["objective"]["name"]].dataset_types
    return next(datasets[kind] for kind in datasets if kind in kinds)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_learns_for_two_steps(lab, datasets, preset):
    dataset = dataset_for(preset, datasets)
    small = {"max_steps": 2, "max_length": 64, "save_steps": 100, "eval_steps": 100, "gradient_accumulation_steps": 1}
    objective = PRESETS[preset].values()["objective"]
    if OBJECTIVES[objective["name"]].rewarded:  # what writes answers writes short ones
        small["objective"] = {**objective, "max_completion_length": 4}
    spec = lab.spec(preset, dataset=dataset, **small)
    record = read_record(lab.workspace.dataset(dataset["id"]))
    check_data(spec, record, record.rows)
    check_combination(spec)
    folder = lab.train(spec)
    losses = values_of(folder, "loss")
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    [finished] = of_kind(folder, Finished)
    assert finished.result == (names.MODEL if TUNERS[spec.tuner.name].whole_model else names.ADAPTER)
    checkpoints.verify(folder / finished.result)


def test_there_are_presets_in_every_group_each_described_in_two_languages():
    assert len(PRESETS) >= 10
    assert {preset.group for preset in PRESETS.values()} == set(GROUPS)
    groups = [preset.group for preset in PRESETS.values()]
    assert groups == sorted(groups, key=GROUPS.index), "one group after the other"
    for words in ("title", "title_zh", "summary", "summary_zh"):
        said = [getattr(preset, words) for preset in PRESETS.values()]
        assert len(set(said)) == len(said), words
    assert all(len(preset.title) <= 36 for preset in PRESETS.values()), "the menu has little room"
