"""A job said again: the preset brings its spec back, Axolotl's keys are Axolotl's, what cannot be said is told."""

import json
import re
import shlex
import zipfile
from pathlib import Path

import pytest
import yaml

from studio import workspace as names
from studio.data.isolation import import_file
from studio.errors import UserError
from studio.jobs.code import INSTEAD
from studio.jobs.code.axolotl import SAYS
from studio.jobs.code.axolotl_rows import axolotl_rows
from studio.jobs.code.bundle import JobCode
from studio.jobs.code.reward_code import reward_code
from studio.jobs.code.script import OBJECTIVE_CODE, script_of
from studio.jobs.code.tuner_code import MAKERS, tuner_code
from studio.jobs.presets import preset_spec, read_presets
from studio.jobs.spec import build_spec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from tests.conftest import tiny_spec

KEYS = {line for line in (Path(__file__).parent / "axolotl_keys.txt").read_text().splitlines() if line[0] != "#"}
DATASET = {"id": "rows-1", "sha256": "0"}
LLAMA = {"model_type": "llama", "num_hidden_layers": 2}
ASKED = {"role": "user", "content": "who keeps the lamp?"}
CHOSEN, REJECTED = {"role": "assistant", "content": "the keeper"}, {"role": "assistant", "content": "fog"}


@pytest.fixture
def code(studio, tiny_model):
    """Makes a job of a spec, and its code."""

    def make(preset, dataset, **changes):
        job = studio.store.create(tiny_spec(preset, dataset, tiny_model, **changes))
        return JobCode(studio.workspace, studio.store.view(job))

    return make


def spec_with(objective="sft", tuner="lora", **changes):
    return build_spec({"dataset": DATASET, "objective": {"name": objective}, "tuner": {"name": tuner}, **changes})


def test_the_preset_of_a_job_brings_its_spec_back(code, instructions, tmp_path):
    made = code("qlora", instructions, learning_rate=1.5e-4, name="Lamp: “灯”")
    files = made.write(tmp_path / "out")
    assert {"job.yaml", "data.jsonl", "train.py", "train.jsonl", "eval.jsonl"} <= set(files)
    again = preset_spec(str(tmp_path / "out" / "job.yaml"), instructions, {})
    assert again == made.spec
    first = (tmp_path / "out" / "job.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# python -m studio train --preset job.yaml --data data.jsonl")


def test_the_rows_that_the_preset_reads_are_the_data_set(code, studio, preferences, tmp_path):
    code("dpo", preferences).write(tmp_path / "out")
    record = import_file(tmp_path / "out" / "data.jsonl", studio.workspace).record
    assert record.sha256 == preferences["sha256"]
    assert record.dataset_type == "preference"


def test_the_zip_holds_every_file_and_says_what_is_left_out(code, instructions, tmp_path):
    code("ia3", instructions).zip(tmp_path / "code.zip", tmp_path / "staging")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        held = archive.namelist()
        assert "axolotl.yaml is left out. Axolotl has no (IA)³." in archive.read("README.txt").decode()
    assert {"train.py", "train.jsonl", "job.yaml", "data.jsonl", "README.txt"} <= set(held)
    assert not [name for name in held if "axolotl" in name]


@pytest.mark.parametrize("preset", read_presets())
def test_a_preset_gives_a_script_that_compiles_and_needs_nothing_of_the_studio(preset):
    spec = build_spec(read_presets()[preset].values(DATASET))
    text = script_of(spec, base_model="some/model", config=LLAMA)
    compile(text, "train.py", "exec")
    assert "import studio" not in text
    assert "from studio" not in text
    assert "trust_remote_code=True" not in text


def test_what_the_user_wrote_cannot_leave_its_string():
    name = '""" + __import__("os").system("true") #\\'
    spec = spec_with(name=name)
    text = script_of(spec, base_model="a'b\"c\n", config=LLAMA)
    compile(text, "train.py", "exec")
    assert text.index('"""', 3) > text.index("Made by the Fine-tuning Studio")


def test_every_tuner_and_objective_is_said():
    assert set(TUNERS) == set(MAKERS)
    assert set(OBJECTIVES) == set(OBJECTIVE_CODE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MAKERS if TUNERS[name].library_class])
@pytest.mark.parametrize("config", [LLAMA, {"model_type": "phi3"}, {"model_type": "gpt2"}], ids=str)
def test_the_configuration_in_the_script_is_the_jobs(name, config, tiny_model):
    import peft

    from studio.methods import bottleneck_layers

    spec = spec_with(tuner=name)
    made = tuner_code(spec, config, str(tiny_model))
    wanted = TUNERS[name].peft_config(spec.tuner, {**config, "_name_or_path": str(tiny_model)}, "CAUSAL_LM")
    kind = getattr(bottleneck_layers if made.own else peft, made.name)
    assert kind(**made.values, task_type="CAUSAL_LM").to_dict() == wanted.to_dict()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tuner": {"name": "lora", "init_lora_weights": "pissa"}, "objective": {"name": "reward"}}, "head out"),
        ({"tuner": {"name": "shira", "mask_type": "gradient"}}, "measured before training"),
        ({"tuner": {"name": "prompt_tuning"}, "objective": {"name": "orpo"}}, "soft prompt"),
        ({"objective": {"name": "grpo", "reward_model": "marks-1"}}, "reward model of this job is not here"),
    ],
)
def test_a_script_that_cannot_be_says_why(changes, words):
    with pytest.raises(UserError, match=words) as caught:
        script_of(build_spec({"dataset": DATASET, **changes}), base_model="some/model", config=LLAMA)
    assert caught.value.hint == INSTEAD


# --- Axolotl -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [name for name in SAYS if name in OBJECTIVES])
@pytest.mark.parametrize(
    "changes",
    [
        {"tuner": {"name": "full"}},
        {"quantization": "nf4", "optim": "paged_adamw_8bit", "max_steps": 7, "warmup_steps": 5},
        {"quantization": "int8", "chat_template": "plain", "train_sampling_strategy": "group_by_length"},
        {"tuner": {"name": "lora", "use_dora": True, "use_rslora": True, "target_modules": "attention"}},
        {"tuner": {"name": "lora", "init_lora_weights": "pissa", "loraplus_lr_ratio": 16}, "dtype": "float16"},
    ],
    ids=str,
)
def test_axolotls_yaml_has_only_keys_of_axolotl(code, instructions, objective, changes):
    made = code("lora", instructions, **{"objective": {"name": objective}, **changes})
    values = yaml.safe_load(made.axolotl())
    assert set(values) <= KEYS
    for dataset in (*values["datasets"], *values["test_datasets"]):
        assert set(dataset) <= KEYS
        if isinstance(dataset["type"], dict):
            assert set(dataset["type"]) <= KEYS
    assert values["sequence_len"] == made.spec.max_length
    assert values.get("adapter") == (
        {"nf4": "qlora"}.get(made.spec.quantization, "lora") if "lora_r" in values else None
    )


def test_axolotl_is_not_asked_for_what_it_has_not(code, instructions):
    with pytest.raises(UserError, match="has no Prompt tuning"):
        code("prompt_tuning", instructions).axolotl()
    with pytest.raises(UserError, match="no loss dft"):
        code("lora", instructions, objective={"name": "sft", "loss_type": "dft"}).axolotl()


def test_axolotl_learns_what_the_job_learns(tiny_model):
    earlier = {"role": "assistant", "content": "tea"}
    prompt = [ASKED, earlier, ASKED]
    [row] = axolotl_rows([{"prompt": prompt, "completion": [CHOSEN]}], spec_with(), tiny_model)
    assert [message["train"] for message in row["messages"]] == [False, False, False, True]
    talk = [ASKED, {**earlier, "weight": 0}, ASKED, CHOSEN]
    [row] = axolotl_rows([{"messages": talk, "tools": [{"type": "function"}]}], spec_with(), tiny_model)
    assert [message["train"] for message in row["messages"]] == [False, False, False, True]
    assert row["tools"] == [{"type": "function"}]
    assert not any("weight" in message for message in row["messages"])
    [row] = axolotl_rows([{"prompt": prompt, "chosen": [CHOSEN], "rejected": [REJECTED]}], spec_with("dpo"), tiny_model)
    assert row == {"messages": prompt, "chosen": CHOSEN, "rejected": REJECTED}
    with pytest.raises(UserError, match="pretraining_dataset"):
        list(axolotl_rows([{"text": "fog"}], spec_with(), tiny_model))
    pair = {"prompt": prompt, "chosen": [CHOSEN, CHOSEN], "rejected": [REJECTED]}
    with pytest.raises(UserError, match="one plain message"):
        list(axolotl_rows([pair], spec_with("dpo"), tiny_model))


def test_orpo_rows_of_axolotl_hold_the_turns_in_both_answers(tiny_model):
    system = {"role": "system", "content": "be brief"}
    pair = {"prompt": [system, ASKED], "chosen": [CHOSEN], "rejected": [REJECTED]}
    [row] = axolotl_rows([pair], spec_with("orpo"), tiny_model)
    assert row == {"system": "be brief", "chosen": [ASKED, CHOSEN], "rejected": [ASKED, REJECTED]}


def test_kto_rows_of_axolotl_are_the_templates_text(tiny_model):
    row = {"prompt": [ASKED], "completion": [CHOSEN], "label": True}
    [made] = axolotl_rows([row], spec_with("kto"), tiny_model)
    assert made["prompt"].endswith("<|im_start|>assistant\n")
    assert made["completion"] == "the keeper<|im_end|>\n"
    assert made["label"] is True


def test_what_axolotl_cannot_say_leads_to_the_preset(code, instructions):
    for changes in ({"start_from": "before-1"}, {"tuner": {"name": "partial"}}, {"objective": {"name": "cpo"}}):
        with pytest.raises(UserError) as caught:
            code("lora", instructions, **changes).axolotl()
        assert caught.value.hint == INSTEAD


# --- jobs that need others -----------------------------------------------------------------------------------------


def test_the_preset_of_a_job_that_continues_names_the_earlier_job(code, instructions, tmp_path):
    made = code("lora", instructions, start_from="before-1")
    files = made.write(tmp_path / "out")
    lines = (tmp_path / "out" / "job.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith(" --set start_from=before-1")
    assert "continues from before-1, which" in lines[1]
    assert "job.yaml: It continues from before-1" in (tmp_path / "out" / "README.txt").read_text()
    settings = dict(word.split("=") for word in shlex.split(lines[0]) if "=" in word)
    assert preset_spec(str(tmp_path / "out" / "job.yaml"), instructions, settings) == made.spec
    assert "train.py" not in files  # that job has no result


def test_the_preset_names_the_reward_model(code, instructions):
    made = code("lora", instructions, objective={"name": "grpo", "reward_model": "marks-1"})
    assert "# The reward model is the job marks-1" in made.preset()
    assert yaml.safe_load(made.preset())["spec"]["objective"]["reward_model"] == "marks-1"


def test_an_earlier_jobs_name_cannot_leave_its_comment(code, instructions):
    text = code("lora", instructions, start_from="a\nspec: {}").preset()
    assert yaml.safe_load(text)["spec"]
    assert text.splitlines()[2].startswith("title:")


# --- rewards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"reward_words": 3},
        {"reward_contains": "Lamp, fo'g"},
        {"reward_format": r"\d+ .*"},
        {"reward_answer": "equals"},
        {"reward_answer": "contains"},
        {"reward_answer": "number"},
        {"reward_json": True},
    ],
    ids=str,
)
def test_the_functions_reward_what_the_rules_reward(options):
    objective = spec_with(objective="grpo").objective.model_copy(update=options)
    text, [name] = reward_code(objective)
    place: dict = {"json": json, "re": re}
    exec(text, place)
    [rule] = objective.rules()
    texts = [
        "",
        "7",
        "the lamp\nin the fo'g",
        "12 LAMP 1,007.",
        '```json\n{"a": 1}\n```',
        "[" * 5000,
        " seven ",
        "1\n2",
    ]
    wanted = ["", "7", "lamp", "1007", "x 7.0", "", "seven", "lamp 2"]
    given = place[name](completions=texts, answer=wanted)
    assert given == [rule.score(text, answer) for text, answer in zip(texts, wanted, strict=True)]
    assert len(set(given)) > 1


def test_a_data_set_that_is_gone_is_told(code, studio, instructions, tmp_path):
    made = code("lora", instructions)
    studio.workspace.discard(studio.workspace.dataset(instructions["id"]))
    with pytest.raises(UserError, match="is gone"):
        made.write(tmp_path / "out")
    assert json.loads(json.dumps(made.preset()))
    assert names.SPEC == "spec.yaml"
