"""Every entry of every registry keeps its promises; a new one is tested the moment it is listed."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from studio.data import formats
from studio.data.chat_template import Sequence
from studio.data.examples import LEARNS_FROM, RowError
from studio.data.formats import FORMATS
from studio.jobs.preflight import WORDS
from studio.jobs.presets import FOLDER, read_preset, read_presets
from studio.jobs.spec import TrainSpec, option_fields
from studio.methods import objectives, tuners
from studio.methods.merging import MERGE_METHODS
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui.charts import COLOURS, figure
from studio.ui.i18n import words

REGISTRIES = [(FORMATS, formats), (OBJECTIVES, objectives), (TUNERS, tuners)]


@pytest.mark.parametrize(("registry", "package"), REGISTRIES)
def test_a_registry_lists_every_file_by_its_name(registry, package):
    files = {file.stem for file in Path(package.__file__).parent.glob("*.py")} - {"__init__", "contract"}
    assert files == set(registry) == {entry.name for entry in registry.values()}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_recognises_and_converts_its_own_row_and_no_earlier_one_takes_it(name):
    row = FORMATS[name].sample_row
    takers = [one for one, entry in FORMATS.items() if entry.recognises(row)]
    assert takers[0] == name
    example = FORMATS[name].to_example(row)
    assert "The puffin." in str(example) or "puffin is a sea bird" in str(example)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_names_the_column_of_a_bad_value(name):
    entry = FORMATS[name]
    for column in entry.columns:
        with pytest.raises(RowError) as caught:
            entry.to_example({**entry.sample_row, column: 3.5})
        assert caught.value.column == column
        assert caught.value.message


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_says_what_it_needs_and_shows(name):
    objective = OBJECTIVES[name]
    assert set(objective.dataset_types) <= set(WORDS)
    assert objective.options().name == name
    for chart in objective.charts:
        assert set(chart.metrics) <= set(COLOURS), "a metric needs a colour"
        assert f"chart_{chart.name}" in words("en")
        assert {trace["meta"]["metric"] for trace in figure(chart)["data"]} == set(chart.metrics)
    prompt, answer = Sequence([1, 2, 3], [-100, 2, 3]), Sequence([1, 4, 5], [-100, 4, 5])
    rows = objective.columns([prompt, answer], 3)
    assert rows
    assert all(isinstance(value, list | bool) for row in rows for value in row.values())


def test_what_the_data_room_says_of_an_objective_is_what_the_objective_says():
    assert {name: one.dataset_types for name, one in OBJECTIVES.items()} == LEARNS_FROM


@pytest.mark.parametrize("name", TUNERS)
def test_a_tuner_has_options_that_build_its_library_class(name):
    tuner = TUNERS[name]
    assert tuner.options().name == name
    assert (tuner.peft_config is None) == (tuner.library_class == "")


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tuner", TUNERS)
def test_every_option_has_a_title_help_and_default(objective, tuner):
    for key, field in option_fields(objective, tuner):
        assert field.title, key
        assert len(field.description or "") > 15, key
        assert not field.is_required(), key


def test_there_is_a_preset_for_every_objective_and_tuner_and_each_can_be_read():
    files = sorted(FOLDER.rglob("*.yaml"))
    presets = read_presets()
    assert len(presets) == len(files) >= 4
    specs = [read_preset(file).values() for file in files]
    assert {spec["objective"]["name"] for spec in specs} == set(OBJECTIVES)
    assert {spec["tuner"]["name"] for spec in specs} == set(TUNERS)
    assert presets["qlora"].values()["quantization"] == "nf4"


def test_an_option_of_another_method_is_refused():
    with pytest.raises(ValidationError, match="beta"):
        TrainSpec(dataset={"id": "a", "sha256": ""}, objective={"name": "sft", "beta": 0.1})


@pytest.mark.parametrize("name", MERGE_METHODS)
def test_a_way_to_merge_explains_itself_and_its_options(name):
    method = MERGE_METHODS[name]
    assert method.options().name == method.name == name
    assert len(method.summary) > 30
    for key, field in method.options.model_fields.items():
        assert key == "name" or (field.title and len(field.description or "") > 15), key
    assert (method.acts_on == "updates") == ("svd_rank" in method.options.model_fields)
