"""Specs, presets and the check before a start: what does not go together is told in words."""

import pytest
import yaml

from studio.errors import UserError
from studio.jobs import preflight
from studio.jobs.preflight import check_start
from studio.jobs.presets import preset_spec, read_preset, read_presets
from studio.jobs.spec import build_spec, read_train_spec, spec_text
from tests.conftest import import_rows, instruction_rows, tiny_spec, write_rows

DATASET = {"id": "rows-1", "sha256": "0"}


def test_a_spec_survives_its_file(tmp_path):
    spec = preset_spec("dpo", DATASET, {"beta": "0.3", "r": "4", "learning_rate": "2e-5", "name": "数据"})
    (tmp_path / "spec.yaml").write_text(spec_text(spec))
    assert read_train_spec(tmp_path / "spec.yaml") == spec
    assert spec.objective.beta == 0.3
    assert spec.tuner.r == 4
    assert spec.learning_rate == 2e-5


def test_the_other_data_sets_survive_the_file_and_an_older_spec_has_none(tmp_path):
    values = preset_spec("lora", DATASET, {"general_share": "0.25"}).model_dump()
    assert (values["eval_dataset"], values["general_dataset"]) == (None, None)
    other = {"eval_dataset": {"id": "exam-1", "sha256": "1"}, "general_dataset": {"id": "general-1", "sha256": "2"}}
    spec = build_spec({**values, **other})
    (tmp_path / "spec.yaml").write_text(spec_text(spec))
    assert read_train_spec(tmp_path / "spec.yaml") == spec
    assert (spec.general_share, spec.general_dataset.id, spec.eval_dataset.sha256) == (0.25, "general-1", "1")
    older = [
        line for line in spec_text(build_spec(values)).splitlines() if "general" not in line and "eval_d" not in line
    ]
    (tmp_path / "spec.yaml").write_text("\n".join(older))
    assert read_train_spec(tmp_path / "spec.yaml") == build_spec({**values, "general_share": 0.1})
    with pytest.raises(UserError, match="General data"):
        build_spec({**values, "general_dataset": {"id": "general-1"}})


def test_presets_say_what_the_issue_of_method_is():
    presets = read_presets()
    assert list(presets)[:4] == ["lora", "qlora", "full", "dpo"]
    assert presets["full"].values()["tuner"] == {"name": "full"}
    assert all(preset.title_zh and preset.summary and preset.summary_zh for preset in presets.values())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"r": "0"}, "Rank (r)"),
        ({"r": "eight"}, "Rank (r)"),
        ({"learning_rate": "-1"}, "Learning rate"),
        ({"beta": "0.1"}, "'beta'"),
        ({"nonsense": "1"}, "'nonsense'"),
        ({"tuner.nonsense": "1"}, "nonsense"),
        ({"optim": "rm -rf"}, "Optimizer"),
        ({"eval_share": "0.9"}, "Share for evaluation"),
        ({"general_share": "1"}, "Share of general data"),
        ({"general_share": "-0.1"}, "Share of general data"),
        ({"general_dataset": "general-1"}, "no option 'general_dataset'"),
        ({"general_dataset.id": "general-1"}, "no option 'general_dataset.id'"),
        ({"name.first": "x"}, "no option 'name.first'"),
    ],
)
def test_a_wrong_option_is_named(settings, named):
    with pytest.raises(UserError) as caught:
        preset_spec("lora", DATASET, settings)
    assert named in str(caught.value)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UserError, match="lora, qlora, full, dpo"):
        preset_spec("nope", DATASET, {})


def test_unknown_keys_and_python_tags_are_refused(tmp_path):
    file = tmp_path / "spec.yaml"
    for text in ("output_dir: /etc\n", "!!python/object/apply:os.system ['true']\n", "[1, 2", ""):
        file.write_text(text)
        with pytest.raises(UserError):
            read_train_spec(file)
    values = yaml.safe_load(spec_text(preset_spec("lora", DATASET, {})))
    with pytest.raises(UserError, match="trust_remote_code"):
        build_spec({**values, "trust_remote_code": True})


def test_a_broken_preset_names_its_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("title: x\nspec: {learning_rate: -1}\n")
    with pytest.raises(UserError, match=r"mine\.yaml"):
        read_preset(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("preset", "changes", "named"),
    [
        ("dpo", {}, "chosen and a rejected"),
        ("full", {"quantization": "nf4"}, "4 bits"),
        ("lora", {"optim": "paged_adamw_8bit"}, "NVIDIA"),
        ("lora", {"dtype": "float16"}, "NVIDIA"),
        ("lora", {"max_length": 4096}, "at most 512"),
        ("lora", {"base_model": "/nowhere/model"}, "/nowhere/model"),
    ],
)
def test_a_bad_combination_is_refused_before_anything_starts(studio, instructions, tiny_model, preset, changes, named):
    spec = tiny_spec(preset, instructions, tiny_model, **changes)
    with pytest.raises(UserError) as caught:
        studio.start_job(spec)
    assert named in str(caught.value)
    assert caught.value.hint
    assert studio.store.ids() == []
    assert studio.catalog.waiting() == []


def test_supervised_training_on_pairs_points_to_dpo(studio, preferences, tiny_model):
    with pytest.raises(UserError, match="DPO"):
        studio.start_job(tiny_spec("lora", preferences, tiny_model))


def test_a_disk_without_room_is_told_before(studio, instructions, tiny_model, monkeypatch):
    monkeypatch.setattr(preflight.Workspace, "free_bytes", lambda self: 10)
    with pytest.raises(UserError, match="GB are free"):
        studio.start_job(tiny_spec("lora", instructions, tiny_model))


def test_a_missing_data_set_is_a_sentence(studio, tiny_model):
    with pytest.raises(UserError, match="no data set"):
        check_start(tiny_spec("lora", DATASET, tiny_model), studio.workspace, studio.settings)


def test_a_good_combination_waits_in_line(studio, instructions, preferences, tiny_model):
    first = studio.start_job(tiny_spec("lora", instructions, tiny_model))
    second = studio.start_job(tiny_spec("dpo", preferences, tiny_model))
    assert studio.catalog.waiting() == [first, second]
    assert [view.status for view in studio.store.views()] == ["queued", "queued"]


@pytest.fixture
def general(workspace, tmp_path):
    return import_rows(workspace, write_rows(tmp_path / "general.jsonl", instruction_rows(6)))


@pytest.mark.parametrize("field", ["eval_dataset", "general_dataset"])
def test_data_sets_of_different_kinds_are_refused_in_words(
    studio, instructions, preferences, general, tiny_model, field
):
    for preset, data, other in (("lora", instructions, preferences), ("dpo", preferences, general)):
        with pytest.raises(UserError) as caught:
            studio.start_job(tiny_spec(preset, data, tiny_model, **{field: other}))
        for words in ("holds", "pairs of a chosen and a rejected answer", "prompts with answers"):
            assert words in str(caught.value)
        assert ("evaluated on" if field == "eval_dataset" else "mixed in") in str(caught.value)
        assert caught.value.hint.startswith("Choose one of the same kind")
    assert studio.store.ids() == []


def test_text_may_be_mixed_into_prompts_with_answers(studio, workspace, instructions, tiny_model, tmp_path):
    texts = import_rows(workspace, write_rows(tmp_path / "texts.jsonl", [{"text": f"fog {i}"} for i in range(5)]))
    for field in ("eval_dataset", "general_dataset"):
        assert studio.start_job(tiny_spec("lora", instructions, tiny_model, **{field: texts}))


@pytest.mark.parametrize("field", ["eval_dataset", "general_dataset"])
def test_a_missing_other_data_set_is_a_sentence(studio, instructions, tiny_model, field):
    with pytest.raises(UserError, match="no data set 'gone-1'"):
        studio.start_job(tiny_spec("lora", instructions, tiny_model, **{field: {"id": "gone-1", "sha256": "0"}}))


def test_one_data_set_has_one_use(studio, workspace, instructions, general, tiny_model, tmp_path):
    twin = import_rows(workspace, write_rows(tmp_path / "twin.jsonl", instruction_rows()))
    assert twin["sha256"] == instructions["sha256"]
    for other, words in (
        ({"eval_dataset": instructions}, "trained on already: it cannot be evaluated on"),
        ({"general_dataset": instructions}, "trained on already: it cannot be mixed in"),
        ({"eval_dataset": twin}, "twin is trained on already"),
        ({"eval_dataset": general, "general_dataset": general}, "evaluated on already: it cannot be mixed in"),
    ):
        with pytest.raises(UserError, match=words):
            studio.start_job(tiny_spec("lora", instructions, tiny_model, **other))


def test_one_row_is_enough_where_another_data_set_evaluates(studio, workspace, general, tiny_model, tmp_path):
    one = import_rows(workspace, write_rows(tmp_path / "one.jsonl", instruction_rows(1)))
    with pytest.raises(UserError, match="One row cannot be split"):
        studio.start_job(tiny_spec("lora", one, tiny_model))
    assert studio.start_job(tiny_spec("lora", one, tiny_model, eval_dataset=general))
