"""Advice, menus and routes of the method page as plain functions and requests."""

import json
import re
import zipfile
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import gradio as gr
import pytest

from studio.data.dataset import read_record
from studio.errors import UserError
from studio.jobs.presets import read_presets
from studio.jobs.spec import TrainSpec, build_spec
from studio.jobs.studio import open_studio
from studio.jobs.sweep import start_sweep
from studio.methods.advice import gigabytes
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.settings import Settings
from studio.ui import advising, i18n, impossible, training_plan, training_wish
from studio.ui.advising import facts_of, parameters_by_name, told_advice
from studio.ui.data_room import DataRoom
from studio.ui.forms import literal_choices
from studio.ui.option_form import GROUPS
from studio.ui.tabs import train
from studio.ui.tabs.data import DataHandlers
from studio.ui.training_events import TrainHandlers
from studio.ui.training_wish import Wish
from tests.conftest import import_rows, instruction_rows, write_rows
from tests.ui.conftest import build_site, visitor

OPTIMIZERS, DTYPES = (literal_choices(TrainSpec.model_fields[name].annotation) for name in ("optim", "dtype"))
BEGINNINGS = literal_choices(TUNERS["lora"].options.model_fields["init_lora_weights"].annotation)
ENGLISH, CHINESE = {"accept-language": "en"}, {"accept-language": "zh-CN"}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    studio = open_studio(Settings(workspace=tmp_path_factory.mktemp("form") / "workspace"))
    with gr.Blocks(analytics_enabled=False):
        return train.build(studio)


@pytest.fixture
def form(tab):
    return tab.form


def simple(tiny_model, dataset, **answers):
    return Wish(str(tiny_model), dataset["id"], mode="simple", **answers)


# --- advice ---


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Llama-2-7b-hf", 7e9),
        ("Qwen/Qwen2.5-0.5B-Instruct", 5e8),
        ("HuggingFaceTB/SmolLM2-135M", 1.35e8),
        ("mistralai/Mixtral-8x7B", 0),
        ("gpt2", 0),
        ("", 0),
    ],
)
def test_a_models_name_tells_its_size(name, parameters):
    assert parameters_by_name(name) == int(parameters)


def test_the_facts_are_those_of_the_data_set_and_the_model(studio, instructions, tiny_model):
    facts = facts_of(studio, simple(tiny_model, instructions, task="code", card="24", hurry="yes"))
    assert (facts.rows, facts.dataset_type, facts.task, facts.hurry) == (24, "prompt_completion", "code", True)
    assert (facts.has_card, facts.memory_bytes, facts.tokens) == (True, round(0.98 * 24 * 2**30), {})
    assert facts.parameters > 0
    assert facts.max_position_embeddings > 0


def test_what_a_card_must_have_comes_from_the_estimate(studio, instructions):
    wish = Wish("meta-llama/Llama-2-7b-hf", instructions["id"], mode="simple", card="24", task="code")
    facts = facts_of(studio, wish)
    assert facts.estimated["nf4"] < 12e9 < facts.estimated["lora"] < 24e9 < 100e9 < facts.estimated["full"]
    assert gigabytes(facts)["lora"] == round(facts.estimated["lora"] / 2**30, 1)
    unknown = facts_of(studio, Wish("some/model-7b", instructions["id"], mode="simple", card="24"))
    assert unknown.estimated == {}
    assert gigabytes(unknown)["full"] > 100


def test_this_machine_is_its_card_or_its_main_memory(studio, instructions, tiny_model, monkeypatch):
    monkeypatch.setattr(advising.hardware, "gpus", lambda: [])
    assert facts_of(studio, simple(tiny_model, instructions)).has_card is False
    card = SimpleNamespace(total_bytes=8 * 10**9)
    monkeypatch.setattr(advising.hardware, "gpus", lambda: [card])
    facts = facts_of(studio, simple(tiny_model, instructions))
    assert (facts.has_card, facts.memory_bytes) == (True, 8 * 10**9)


@pytest.mark.parametrize("answers", [{"task": "evil"}, {"card": "1000000"}, {"card": "nan"}])
def test_an_answer_that_is_none_is_a_sentence(studio, instructions, tiny_model, answers):
    with pytest.raises(UserError, match="not one of the answers"):
        facts_of(studio, simple(tiny_model, instructions, **answers))


def test_the_advice_gives_every_value_its_reason_and_section_in_both_languages(studio, instructions, tiny_model):
    wish = simple(tiny_model, instructions)
    english, chinese = (told_advice(studio, wish, language)["choices"] for language in ("en", "zh"))
    assert [one["key"] for one in english] == [one["key"] for one in chinese]
    for one, other in zip(english, chinese, strict=True):
        assert one["reason"] != other["reason"]
        assert one["section"] == other["section"]
        assert one["title"] or not one["key"]
    assert told_advice(studio, Wish("starter", None), "en") == {}


def test_the_simple_form_starts_what_the_advice_says(studio, form, instructions, tiny_model):
    values = tuple(option.control.value for option in form.options)
    spec = training_wish.spec_of(studio, form.options, simple(tiny_model, instructions, task="classification"), values)
    assert (spec.tuner.name, spec.tuner.r, spec.tuner.lora_alpha, spec.learning_rate) == ("lora", 4, 8, 2e-4)
    assert spec.name == "instructions · LoRA"
    wish = Wish(str(tiny_model), instructions["id"], mode="evil")
    with pytest.raises(UserError, match="no form"):
        training_wish.spec_of(studio, form.options, wish, values)


def test_one_click_fills_the_form_with_the_advice(studio, form, preferences, tiny_model):
    wish = simple(tiny_model, preferences)
    shown = [option.control.value for option in form.options]
    mode, carried = TrainHandlers(studio, form).use_advice("{}", *vars(wish).values(), *shown)
    preset, objective, tuner, *values = json.loads(carried)["after"]
    assert (mode, preset, objective, tuner) == ("advanced", "advice", "dpo", "lora")
    filled = Wish(str(tiny_model), preferences["id"], preset="advice", objective=objective, tuner=tuner)
    by_hand = training_wish.spec_of(studio, form.options, filled, tuple(values))
    advised = training_wish.spec_of(studio, form.options, wish, tuple(values))
    assert by_hand == advised


def test_a_preset_fills_the_form_but_says_what_it_stood_on(studio, form, instructions, tiny_model):
    values = [0.5 if option.key == "learning_rate" else option.control.value for option in form.options]
    wish = Wish(str(tiny_model), instructions["id"], preset="full")
    noted = json.loads(TrainHandlers(studio, form).choose_preset('{"answers": [1]}', *vars(wish).values(), *values))
    assert noted["answers"] == [1], "a look at Simple still takes nothing back"
    assert noted["before"] == ["full", "sft", "lora", *values]
    assert noted["after"][:3] == ["full", "sft", "full"]
    given = dict(zip([(option.owner, option.key) for option in form.options], noted["after"][3:], strict=True))
    assert given["", "learning_rate"] == read_presets()["full"].values()["learning_rate"]
    assert given["tuner:lora", "tuner.r"] == form.values["tuner"]["r"], "what the preset does not have stays"


# --- what is not possible ---


def reasons(studio, dataset, wish, config=None, **changes):
    record = read_record(studio.workspace.dataset(dataset["id"]))
    spec = build_spec({"dataset": dataset, **changes}) if changes else None
    return impossible.impossible(record, wish, spec, config or {})


def test_objectives_that_cannot_learn_from_the_rows_are_grey(studio, instructions, preferences):
    names = list(OBJECTIVES)
    grey = reasons(studio, instructions, Wish("starter", instructions["id"]))["objective"]
    assert "chosen and a rejected" in grey[str(names.index("dpo"))]
    assert str(names.index("sft")) not in grey
    assert str(names.index("grpo")) not in grey, "that it still needs a reward is no reason against it"
    grey = reasons(studio, preferences, Wish("starter", preferences["id"]))["objective"]
    assert set(grey) == {str(names.index("sft"))}


def test_what_does_not_go_with_quantization_is_grey(studio, instructions):
    names = list(TUNERS)
    wish = Wish("starter", instructions["id"])
    grey = reasons(studio, instructions, wish, quantization="nf4")
    assert str(names.index("full")) in grey["tuner"]
    assert str(names.index("lora")) not in grey["tuner"]
    grey = reasons(studio, instructions, wish, tuner={"name": "full"})
    assert set(grey["option-quantization"]) == {"1", "2"}


def test_presets_for_other_rows_are_grey_and_the_advice_never(studio, instructions):
    grey = reasons(studio, instructions, Wish("starter", instructions["id"]))["preset"]
    names = list(impossible.preset_values())
    assert str(1 + names.index("dpo")) in grey
    assert str(1 + names.index("lora")) not in grey
    assert "0" not in grey


def test_values_of_options_that_this_machine_or_the_rest_cannot_do_are_grey(studio, instructions, monkeypatch):
    monkeypatch.setattr("studio.hardware.gpus", lambda: [])
    wish = Wish("starter", instructions["id"])

    def grey(menu, **changes):
        found = reasons(studio, instructions, wish, **changes)[f"option-{menu}"]
        choices = {"optim": OPTIMIZERS, "dtype": DTYPES, "tuner-init_lora_weights": BEGINNINGS}[menu]
        return {choices[int(place)] for place in found}

    assert grey("optim", learning_rate=1e-4) == {"adamw_8bit", "paged_adamw_8bit"}
    assert grey("dtype", learning_rate=1e-4) == {"float16"}
    assert grey("dtype", dtype="float16") == {"float16"}, "the chosen one too"
    assert grey("tuner-init_lora_weights", learning_rate=1e-4) == set()
    assert {"pissa", "olora"} <= grey("tuner-init_lora_weights", quantization="nf4")
    monkeypatch.setattr("studio.hardware.gpus", lambda: [SimpleNamespace(total_bytes=8 * 10**9)])
    assert grey("optim", learning_rate=1e-4) == set()


def test_what_speaks_against_every_value_is_no_values_fault(studio, preferences):
    wish = Wish("starter", preferences["id"])
    grey = reasons(studio, preferences, wish, objective={"name": "kto"}, per_device_train_batch_size=1)
    losses = literal_choices(OBJECTIVES["kto"].options.model_fields["loss_type"].annotation)
    assert {losses[int(place)] for place in grey["option-objective-loss_type"]} == {"kto"}
    assert grey["option-dtype"].keys() <= {str(DTYPES.index("float16"))}


def test_reasons_are_told_in_chinese(studio, form, preferences, instructions):
    values = tuple(option.control.value for option in form.options)
    plan = training_plan.plan_of(studio, form.options, Wish("org/model", preferences["id"]), values, "zh")
    chinese = re.compile(r"[\u4e00-\u9fff]")
    told = [reason for menu in plan["impossible"].values() for reason in menu.values()]
    assert told
    assert all(chinese.search(text) for text in (*told, plan["problem"]))
    assert "{" not in "".join(told) + plan["problem"]


def test_the_plan_counts_the_weights_that_learn(studio, form, instructions, tiny_model):
    values = tuple(option.control.value for option in form.options)
    told = training_plan.plan_of(studio, form.options, simple(tiny_model, instructions), values)
    assert 0 < told["trained"] < told["parameters"]
    told = training_plan.plan_of(studio, form.options, Wish("org/unknown", instructions["id"], mode="simple"), values)
    assert told["trained"] is None


def test_a_learning_rate_that_makes_a_model_forget_is_told(studio, form, instructions):
    def plan(rate):
        values = tuple(rate if option.key == "learning_rate" else option.control.value for option in form.options)
        return training_plan.plan_of(studio, form.options, Wish("org/model", instructions["id"]), values)

    assert plan(2e-4)["high_rate"] is None
    assert plan(2e-2)["high_rate"] == 5e-4


def test_a_job_of_a_few_steps_is_told(studio, form, instructions):
    def plan(**changes):
        values = tuple(changes.get(option.key, option.control.value) for option in form.options)
        return training_plan.plan_of(studio, form.options, Wish("org/model", instructions["id"]), values)

    short = plan(num_train_epochs=1)
    assert (short["steps"] < 10, short["few_steps"]) == (True, True)
    assert plan(num_train_epochs=20)["few_steps"] is False
    assert plan(max_steps=3)["few_steps"] is False  # as it was asked for


# --- the next stage ---


def test_an_address_that_names_no_finished_job_is_a_sentence(studio, form, new_job):
    from studio.ui.training_events import next_stage

    job = new_job()
    for query, words in (({"from": "../x", "next": "dpo"}, "not the id"), ({"from": job, "next": "evil"}, "followed")):
        with pytest.raises(UserError, match=words):
            next_stage(studio, SimpleNamespace(query_params=query))
    assert next_stage(studio, SimpleNamespace(query_params={})) is None
    assert next_stage(studio, SimpleNamespace(query_params={"from": job, "next": "dpo"}))["start_from"] == job


# --- routes ---


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build_site(tmp_path_factory.mktemp("methods") / "workspace")


@pytest.fixture(scope="module")
def job(site, tmp_path_factory, tiny_model):
    workspace = site.studio.workspace
    dataset = import_rows(workspace, write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", instruction_rows(6)))
    return site.studio.store.create(build_spec({"dataset": dataset, "base_model": str(tiny_model), "max_length": 64}))


def test_a_jobs_code_is_shown_and_downloaded(site, job):
    who = visitor(site.app)
    assert "from trl import SFTConfig" in who.get(f"/api/jobs/{job}/code").json()["text"]
    assert "reason" in who.get(f"/api/jobs/{job}/code?kind=evil").json()
    file = who.get(f"/api/jobs/{job}/code/axolotl.yaml")
    assert file.headers["content-disposition"] == 'attachment; filename="axolotl.yaml"'
    assert "adapter: lora" in file.text
    packed = who.get(f"/api/jobs/{job}/code.zip")
    assert {"train.py", "train.jsonl", "job.yaml"} <= set(zipfile.ZipFile(BytesIO(packed.content)).namelist())
    assert list(site.studio.workspace.uploads.iterdir()) == []


@pytest.mark.parametrize("path", ["code/evil.py", "code/..%2fspec.yaml"])
def test_no_other_file_of_a_job_is_given_away(site, job, path):
    answer = visitor(site.app).get(f"/api/jobs/{job}/{path}")
    assert answer.status_code in (400, 404)
    assert "base_model" not in answer.text


def test_a_job_that_is_none_is_a_sentence(site):
    for path in ("jobs/none-1/code", "jobs/none-1/code.zip", "sweeps/none-1", "sweeps/UPPER"):
        answer = visitor(site.app).get(f"/api/{path}")
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_the_guide_comes_in_the_readers_language(site):
    who = visitor(site.app)
    assert who.get("/api/guide", headers=ENGLISH).json()["ranks"]["title"] == "Which rank?"
    assert who.get("/api/guide", headers=CHINESE).json()["ranks"]["title"] == "秩选多大？"


def test_the_guide_compares_every_tuner_that_trains_a_part(site):
    rows = visitor(site.app).get("/api/guide", headers=ENGLISH).json()["tuners"]["rows"]
    named = " ".join(row[0] for row in rows).lower().replace("-", " ")
    words = {"bottleneck": "bottleneck", "partial": "some layers", "ia3": "(ia)³", "shira": "shira"}
    for name in TUNERS:
        if name != "full":
            assert words.get(name, name.replace("_", " ")) in named, name


# --- all options ---


def test_all_options_stand_below_headings_in_this_order(studio):
    with gr.Blocks(analytics_enabled=False) as blocks:
        form = train.build(studio).form
    rest = next(one for one in blocks.blocks.values() if getattr(one, "elem_id", "") == "all-options")
    shown, keys = [], {id(option.control): option.key for option in form.options}

    def walk(block):
        for child in getattr(block, "children", []):
            if isinstance(child, gr.Column) and not child.visible:
                continue
            if isinstance(child, gr.Markdown):
                shown.append((re.search(r"train_group\.(\w+)", str(child.value))[1], []))
            elif id(child) in keys:
                shown[-1][1].append(keys[id(child)])
            walk(child)

    walk(rest)
    assert [group for group, _ in shown] == list(GROUPS)
    groups = dict(shown)
    assert groups["data"] == ["chat_template"]
    assert {"optim", "dtype", "gradient_checkpointing", "bnb_4bit_compute_dtype"} <= set(groups["memory"])
    assert {"max_steps", "warmup_steps", "seed"} <= set(groups["schedule"])
    assert all(key.startswith("tuner.") for key in groups["tuner"])
    assert all(key.startswith("objective.") for key in groups["objective"])
    assert groups["forgetting"] == ["ewc_lambda", "ewc_rows"]
    assert groups["reports"][0] == "logging_steps"


# --- sweeps ---


def test_a_sweep_is_told_with_its_trials(site, job):
    spec = site.studio.store.view(job).spec
    sweep, jobs = start_sweep(site.studio, spec, {"tuner.r": [2, 4]})
    told = visitor(site.app).get(f"/api/sweeps/{sweep}").json()
    assert (told["keys"], told["metric"], told["higher"]) == (["r"], "eval_loss", False)
    assert [(one["job"], one["label"], one["best"]) for one in told["trials"]] == [
        (jobs[0], "r 2", False),
        (jobs[1], "r 4", False),
    ]
    live = visitor(site.app).get(f"/api/live?list=0&job={jobs[0]}").json()
    assert live["job"]["sweep"] == sweep
    assert "dpo" in live["job"]["next"]


def test_what_jobs_are_compared_by_has_a_word_in_both_languages():
    for measure in {measure for one in OBJECTIVES.values() for measure in one.measures}:
        assert all(i18n.words(language)[f"sweep_by.{measure.metric}"] for language in ("en", "zh"))


# --- what the reviewers found ---


def planned(studio, form, dataset, model, **changes):
    """The plan of an advanced form with a few options changed."""
    values = [changes.get(option.key, option.control.value) for option in form.options]
    named = {name: changes[name] for name in ("objective", "tuner") if name in changes}
    wish = Wish(str(model), dataset["id"], mode="advanced", preset="lora", **named)
    return training_plan.plan_of(studio, form.options, wish, tuple(values))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ewc_lambda": 100.0}, "general data"),
        ({"objective": "grpo"}, "Nothing is rewarded"),
        ({"max_length": 9000}, "reads at most"),
    ],
)
def test_the_plan_refuses_what_start_would(studio, form, instructions, tiny_model, changes, words):
    assert words in planned(studio, form, instructions, tiny_model, **changes)["problem"]


def test_the_count_of_weights_of_a_model_that_is_not_here_is_pefts(studio, form, instructions):
    options = {"tuner.r": 8, "tuner.target_modules": "attention"}
    plan = planned(studio, form, instructions, "meta-llama/Llama-2-7b-hf", **options)
    assert (plan["trained"], plan["parameters"]) == (8_388_608, 6_746_804_224)


def test_the_plan_is_for_the_card_that_the_advice_is_for(studio, form, instructions):
    wish = Wish("meta-llama/Llama-2-7b-hf", instructions["id"], mode="simple", card="24")
    values = tuple(option.control.value for option in form.options)
    memory = training_plan.plan_of(studio, form.options, wish, values)["memory"]
    assert memory["card"] == "24 GB"
    assert memory["fits"] is True


def test_no_size_is_made_up_for_a_model_that_nobody_knows(studio, instructions):
    told = told_advice(studio, Wish("some/model", instructions["id"], mode="simple", card="8"), "en")
    [quantization] = [choice for choice in told["choices"] if choice["key"] == "quantization"]
    assert "not known" in quantization["reason"]


def test_plain_text_has_no_prompt_to_answer(studio, form, tmp_path, tiny_model):
    texts = import_rows(
        studio.workspace, write_rows(tmp_path / "texts.jsonl", [{"text": f"fog {i}"} for i in range(9)])
    )
    plan = planned(studio, form, texts, tiny_model, objective="grpo")
    assert "needs prompts" in plan["problem"]


# --- from Simple to Advanced ---


def switched(studio, form, wish, carried="{}", **changes):
    """What the page notes when a mode was chosen, with some controls changed before."""
    values = [changes.get(option.key, option.control.value) for option in form.options]
    return TrainHandlers(studio, form).choose_mode(carried, *vars(wish).values(), *values)


def test_going_to_advanced_carries_what_the_answers_chose(studio, form, preferences, tiny_model):
    wish = Wish(str(tiny_model), preferences["id"], mode="advanced", task="classification")
    noted = json.loads(switched(studio, form, wish))
    assert noted["before"][:3] == ["lora", "sft", "lora"]
    assert noted["after"][:3] == ["advice", "dpo", "lora"]
    values = tuple(noted["after"][3:])
    by_hand = Wish(str(tiny_model), preferences["id"], preset="advice", objective="dpo", tuner="lora")
    simple_spec = training_wish.spec_of(
        studio, form.options, simple(tiny_model, preferences, task="classification"), ()
    )
    assert training_wish.spec_of(studio, form.options, by_hand, values) == simple_spec
    about, *columns = TrainHandlers(studio, form).carried(json.dumps(noted), *noted["after"][:3])
    assert about["en"]
    assert [column.visible for column in columns] == [
        owner in ("", "tuner:lora", "objective:dpo") for owner, _ in form.columns
    ]


def test_a_look_at_simple_takes_nothing_back(studio, form, preferences, tiny_model):
    wish = Wish(str(tiny_model), preferences["id"], mode="advanced")
    first = switched(studio, form, wish)
    looked = switched(studio, form, replace(wish, mode="simple"), first)
    again = switched(studio, form, wish, looked, learning_rate=0.5)
    assert "after" in json.loads(first)
    assert "after" not in json.loads(again)
    other = switched(studio, form, replace(wish, hurry="yes"), again)
    assert "after" in json.loads(other), "another answer was given meanwhile"


def test_without_advice_nothing_is_carried_and_nonsense_is_not_read(studio, form, preferences, tiny_model):
    assert json.loads(switched(studio, form, Wish("starter", None, mode="advanced"))) == {}
    wish = Wish(str(tiny_model), preferences["id"], mode="advanced")
    for nonsense in ("", "[1]", "{", "null"):
        assert "after" in json.loads(switched(studio, form, wish, nonsense))
    late = TrainHandlers(studio, form).carried(switched(studio, form, wish), "full", "sft", "full")
    assert all(update == gr.skip() for update in late), "the user has chosen another preset since"


# --- Train on this ---


def test_train_on_this_lands_on_an_objective_that_learns_from_the_rows(studio, tab, preferences, instructions):
    on = DataHandlers(DataRoom(studio))

    def used(dataset, looked, mode, objective):
        updates = on.use(tab, dataset["id"], looked, mode, objective)
        _, model, shown, preset, named, *_ = updates
        values = dict(zip([option.key for option in tab.options], updates[7:], strict=False))
        return model, shown, preset, named, values

    _, shown, preset, objective, values = used(preferences, {}, "advanced", "sft")
    assert (shown, preset, objective) == ("advanced", "dpo", "dpo")
    assert values["learning_rate"] == read_presets()["dpo"].values()["learning_rate"]
    _, shown, _, objective, values = used(preferences, {"max_length": 320}, "simple", "sft")
    assert (shown, objective, values["max_length"]) == ("advanced", "dpo", 320)
    for dataset, mode, objective in ((preferences, "advanced", "orpo"), (instructions, "advanced", "grpo"),
                                     (preferences, "simple", "sft")):  # fmt: skip
        _, shown, preset, named, values = used(dataset, {}, mode, objective)
        assert (shown, preset, named) == (mode, gr.skip(), gr.skip()), objective
        assert set(map(str, values.values())) == {str(gr.skip())}
