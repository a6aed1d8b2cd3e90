"""The Train tab as plain functions: what the form says is what the job gets, and the plan says what will happen."""

from types import SimpleNamespace

import gradio as gr
import pytest

from studio.data.audit.contract import Finding
from studio.data.snapshots import read_current, take_snapshot
from studio.data.steps import add_step, step_for
from studio.errors import UserError
from studio.jobs.presets import read_presets
from studio.jobs.spec import option_fields
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui import i18n, training_events, training_plan, training_wish
from studio.ui.forms import literal_choices
from studio.ui.menus import dataset_choice, dataset_menu, other_dataset_menu
from studio.ui.option_form import ELSEWHERE, preset_updates
from studio.ui.tabs import train
from studio.ui.training_wish import Wish
from tests.conftest import import_rows, instruction_rows, write_rows

PRESETS = read_presets()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """The Train tab, laid out as on the page."""
    from studio.jobs.studio import open_studio
    from studio.settings import Settings

    studio = open_studio(Settings(workspace=tmp_path_factory.mktemp("form") / "workspace"))
    with gr.Blocks(analytics_enabled=False):
        return train.build(studio)


@pytest.fixture
def form(tab):
    return tab.form


@pytest.fixture
def general(workspace, tmp_path):
    """A general data set of ten examples."""
    rows = [{**row, "instruction": f"general {i}"} for i, row in enumerate(instruction_rows(10))]
    return import_rows(workspace, write_rows(tmp_path / "general.jsonl", rows))


@pytest.fixture
def exam(workspace, tmp_path):
    """A data set of five examples to evaluate on."""
    rows = [{**row, "instruction": f"exam {i}"} for i, row in enumerate(instruction_rows(5))]
    return import_rows(workspace, write_rows(tmp_path / "exam.jsonl", rows))


@pytest.fixture
def thumbs(workspace, tmp_path):
    """24 answers, every second one good."""
    rows = [{"prompt": f"q {i}", "completion": f"a {i}", "label": not i % 2} for i in range(24)]
    return import_rows(workspace, write_rows(tmp_path / "thumbs.jsonl", rows))


def fitting_dataset(preset, instructions, preferences, thumbs):
    """A data set of 24 rows that the preset's objective learns from."""
    types = OBJECTIVES[PRESETS[preset].spec["objective"]["name"]].dataset_types
    if "prompt_completion" in types:
        return instructions
    return preferences if "preference" in types else thumbs


def filled(form, preset, **changes):
    """The values that the form holds after a preset was chosen and some options were changed."""
    updates = preset_updates(form, PRESETS[preset])[: len(form.options)]
    values = []
    for option, value in zip(form.options, updates, strict=True):
        skipped = isinstance(value, dict) and value.get("__type__") == "update"
        values.append(changes.get(option.key, option.control.value if skipped else value))
    return tuple(values)


def wish_of(dataset, preset, name="", chosen=("", ""), **more):
    values = PRESETS[preset].values() if preset in PRESETS else PRESETS["lora"].values()
    methods = {"objective": values["objective"]["name"], "tuner": values["tuner"]["name"], **more}
    eval_on, general = chosen
    return Wish("starter", dataset, preset=preset, name=name, eval_dataset=eval_on, general_dataset=general, **methods)


def spec_of(studio, form, dataset, preset, name="", chosen=("", ""), **changes):
    wish = wish_of(dataset, preset, name, chosen)
    return training_wish.spec_of(studio, form.options, wish, filled(form, preset, **changes))


def plan_of(studio, form, dataset, preset, chosen=("", ""), **changes):
    wish = wish_of(dataset, preset, chosen=chosen)
    return training_plan.plan_of(studio, form.options, wish, filled(form, preset, **changes))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_left_as_it_is_gives_the_presets_spec(studio, form, instructions, preset):
    spec = spec_of(studio, form, instructions["id"], preset)
    wanted = PRESETS[preset].values(instructions)
    assert spec.model_dump() == {**wanted, "name": f"instructions · {PRESETS[preset].title}"}


def test_a_changed_option_and_a_name_reach_the_spec(studio, form, instructions):
    changes = {"learning_rate": 1e-3, "tuner.r": 32, "eval_share": 0}
    spec = spec_of(studio, form, instructions["id"], "lora", name="  灯塔  ", **changes)
    assert (spec.learning_rate, spec.tuner.r, spec.eval_share, spec.name) == (1e-3, 32, 0, "灯塔")


def test_options_of_another_method_do_not_get_into_the_spec(studio, form, instructions):
    spec = spec_of(studio, form, instructions["id"], "full", **{"tuner.r": -5, "objective.beta": "x"})
    assert spec.tuner.name == "full"


def test_a_job_needs_a_data_set_and_a_preset_that_are_there(studio, form, instructions):
    for dataset, preset, words in (
        (None, "lora", "No data set"),
        ("", "lora", "No data set"),
        ("no-such-set", "lora", "no data set"),
        ("../../etc", "lora", "not the id of a data set"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            spec_of(studio, form, dataset, preset)
        assert caught.value.hint
    with pytest.raises(UserError, match="no preset 'evil'"):
        training_wish.spec_of(studio, form.options, wish_of(instructions["id"], "evil"), filled(form, "lora"))


@pytest.mark.parametrize("chosen", [("no-such-set", ""), ("", "no-such-set"), ("../../etc", ""), ("", "../../etc")])
def test_the_other_data_sets_must_be_there_too(studio, form, instructions, chosen):
    with pytest.raises(UserError, match=r"no data set 'no-such-set'|not the id of a data set"):
        spec_of(studio, form, instructions["id"], "lora", chosen=chosen)
    assert "data set" in plan_of(studio, form, instructions["id"], "lora", chosen=chosen)["problem"]


@pytest.mark.parametrize(
    ("key", "value", "title"),
    [
        ("learning_rate", 0, "Learning rate"),
        ("learning_rate", None, "Learning rate"),
        ("max_length", 1, "Max length"),
        ("num_train_epochs", -1, "Epochs"),
        ("per_device_train_batch_size", 1.5, "Batch size"),
        ("tuner.r", 0, "Rank"),
        ("optim", "evil", "Optimizer"),
        ("eval_share", float("nan"), "Share for evaluation"),
        ("general_share", 0.95, "Share of general data"),
        ("general_share", None, "Share of general data"),
    ],
)
def test_a_value_out_of_place_is_named_by_its_title(studio, form, instructions, key, value, title):
    with pytest.raises(UserError, match=title):
        spec_of(studio, form, instructions["id"], "lora", **{key: value})
    assert title in plan_of(studio, form, instructions["id"], "lora", **{key: value})["problem"]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_plan_counts_examples_and_steps(studio, form, instructions, preferences, thumbs, preset):
    dataset = fitting_dataset(preset, instructions, preferences, thumbs)
    changes = {
        "eval_share": 0.25,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
    }
    plan = plan_of(studio, form, dataset["id"], preset, **changes)
    spec = PRESETS[preset].values()
    # Several answers to a prompt make several rows of it; PPO goes through whole rounds of answers more than once.
    steps = {"grpo": 36, "rloo": 36, "ppo": 16}.get(spec["objective"]["name"], 10)
    assert (plan["examples"], plan["eval_examples"], plan["steps"], plan["ahead"]) == (18, 6, steps, 0)
    assert (plan["tuner"], plan["objective"]) == (spec["tuner"]["name"], spec["objective"]["name"])
    assert (plan["general_examples"], plan["general_wanted"]) == (0, 0)


def test_the_plan_counts_a_begun_step_whole_and_the_jobs_before_it(studio, form, instructions):
    few = {"eval_share": 0.25, "num_train_epochs": 0.25, "per_device_train_batch_size": 4}
    assert plan_of(studio, form, instructions["id"], "lora", **few)["steps"] == 2  # a quarter of 5, as the trainer does
    studio.catalog.enqueue(studio.store.create(spec_of(studio, form, instructions["id"], "lora")))
    assert plan_of(studio, form, instructions["id"], "lora")["ahead"] == 1


def test_the_plan_says_what_start_would_refuse(studio, form, instructions, preferences):
    assert "chosen and a rejected" in plan_of(studio, form, instructions["id"], "dpo")["problem"]
    assert "DPO" in plan_of(studio, form, preferences["id"], "lora")["problem"]
    assert "4 bits" in plan_of(studio, form, instructions["id"], "full", quantization="nf4")["problem"]


def test_the_plan_without_a_data_set_is_empty_and_max_steps_wins(studio, form, instructions):
    assert plan_of(studio, form, None, "lora") == {"empty": True}
    assert plan_of(studio, form, instructions["id"], "lora", max_steps=7)["steps"] == 7


def test_a_job_refers_to_the_examples_as_the_steps_left_them(studio, form, instructions):
    folder = studio.workspace.dataset(instructions["id"])
    add_step(
        folder,
        step_for(Finding(code="empty_answer", severity="warning", count=4, rows="1-4", remedies=("drop",)), "drop"),
    )
    take_snapshot(folder)
    spec = spec_of(studio, form, instructions["id"], "lora")
    assert spec.dataset.sha256 == read_current(folder)["sha256"] != instructions["sha256"]
    assert plan_of(studio, form, instructions["id"], "lora", eval_share=0)["examples"] == 20


def test_the_chosen_data_sets_and_their_share_reach_the_spec(studio, form, instructions, general, exam):
    chosen = (exam["id"], general["id"])
    spec = spec_of(studio, form, instructions["id"], "lora", chosen=chosen, general_share=0.25)
    assert spec.eval_dataset.model_dump() == exam
    assert spec.general_dataset.model_dump() == general
    assert spec.general_share == 0.25
    assert spec_of(studio, form, instructions["id"], "lora", chosen=(None, None)).general_dataset is None


def test_the_plan_tells_what_is_mixed_in_and_what_evaluates(studio, form, instructions, general, exam):
    plan = plan_of(studio, form, instructions["id"], "lora", chosen=("", general["id"]), eval_share=0.25)
    assert (plan["examples"], plan["general_examples"], plan["general_wanted"], plan["eval_examples"]) == (20, 2, 2, 6)
    changes = {"general_share": 0.5, "num_train_epochs": 1, "per_device_train_batch_size": 4}
    plan = plan_of(studio, form, instructions["id"], "lora", chosen=(exam["id"], general["id"]), **changes)
    assert (plan["examples"], plan["general_examples"], plan["general_wanted"], plan["eval_examples"]) == (
        34,
        10,
        24,
        5,
    )
    assert plan["steps"] == 9


def test_the_plan_names_data_sets_that_do_not_go_together(studio, form, instructions, preferences):
    plan = plan_of(studio, form, instructions["id"], "lora", chosen=("", preferences["id"]))
    assert "preferences holds pairs of a chosen and a rejected answer" in plan["problem"]


def test_the_menus_of_other_data_sets_begin_with_none_of_them(studio, instructions, general):
    for chosen, value in ((None, ""), ("gone", ""), (general["id"], general["id"])):
        update = sent(other_dataset_menu(studio, chosen, "Nothing"))
        assert update["choices"] == [
            ("Nothing", ""),
            ("general · 10", general["id"]),
            ("instructions · 24", instructions["id"]),
        ]
        assert update.get("value", chosen) == value


def sent(component):
    """What an answer of a handler changes on the page."""
    return {name: value for name, value in component._constructor_args[0].items() if value is not None}


def test_a_menu_that_is_filled_anew_keeps_what_it_shows_by_then(studio, instructions, general):
    filled = sent(dataset_menu(studio, instructions["id"]))
    assert "value" not in filled  # an answer that comes late must not take a choice back
    assert {value for _, value in filled["choices"]} == {instructions["id"], general["id"]}
    assert "value" not in sent(other_dataset_menu(studio, general["id"], "Nothing"))
    newest = dataset_choice(studio, None).value
    for gone in (None, "gone"):
        assert sent(dataset_menu(studio, gone))["value"] == newest


def test_the_shares_stand_beside_their_menus_and_that_of_general_data_waits(tab):
    keys = {id(option.control): option.key for option in tab.form.options}
    assert keys[id(tab.eval_share)] == "eval_share"
    assert keys[id(tab.general_share)] == "general_share"
    assert (tab.eval_share.visible, tab.general_share.visible) == (True, False)
    assert len(tab.asked()) == len(Wish.__dataclass_fields__)


@pytest.mark.parametrize(("eval_on", "general"), [("", ""), (None, None), ("exam-1", ""), ("exam-1", "general-1")])
def test_a_share_shows_only_when_it_counts(eval_on, general):
    own, mixed_in = training_events.shares_of(eval_on, general)
    assert (own.visible, mixed_in.visible) == (not eval_on, bool(general))


def test_the_menus_speak_the_readers_language(studio, instructions):
    for language, words in (("en", "A share of the data set"), ("zh-CN", "数据集的一部分")):
        request = SimpleNamespace(headers={"accept-language": language})
        dataset, eval_on, general, base = training_events.menus_of(studio, None, "gone", None, request)
        assert (dataset.value, eval_on.value, general.value) == (instructions["id"], "", "")
        assert eval_on.choices[0] == (words, "")
        assert general.choices[1:] == dataset.choices
        assert base.choices[0][1] == "starter"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_shows_its_own_options_and_hides_the_others(form, preset):
    values = PRESETS[preset].values()
    shown = {"", f"tuner:{values['tuner']['name']}", f"objective:{values['objective']['name']}"}
    visible = [column.visible for column in preset_updates(form, PRESETS[preset])[len(form.options) :]]
    assert visible == [owner in shown for owner, _ in form.columns]


def test_every_option_of_every_method_has_one_control_with_the_fields_words_and_default(form):
    keys = [(option.owner, option.key) for option in form.options]
    assert len(keys) == len(set(keys))
    for objective in OBJECTIVES:
        for tuner in TUNERS:
            for key, field in option_fields(objective, tuner):
                if key in ELSEWHERE:
                    continue
                group = key.partition(".")[0] if "." in key else ""
                owner = {"": "", "tuner": f"tuner:{tuner}", "objective": f"objective:{objective}"}[group]
                control = next(one.control for one in form.options if (one.owner, one.key) == (owner, key))
                assert control.interactive
                assert str(control.label.key) == f"field.{key}.title"
                assert i18n.words("en")[str(control.info.key)] == field.description
                choices = list(literal_choices(field.annotation))
                if choices:
                    assert [value for _, value in control.choices] == choices
