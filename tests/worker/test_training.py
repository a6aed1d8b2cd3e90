"""Each preset trains what it should and nothing else, with the figures that it reports being true."""

import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from studio import workspace as names
from studio.base_models import fingerprint
from studio.errors import UserError
from studio.jobs.events import EVALUATING, Checkpoint, Finished, Metrics, Progress, Started, Warned
from studio.worker import checkpoints, load
from studio.worker import train as train_module
from tests.conftest import import_rows, write_rows
from tests.worker.conftest import learned_bytes, of_kind, train_in, tree_hash, values_of

pytestmark = pytest.mark.slow
PRESETS = ("lora", "qlora", "full", "dpo")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def base_files(lab):
    return tree_hash(lab.model)


@pytest.fixture(scope="module")
def trained(lab, base_files):
    """Preset → the folder of a job of three steps."""
    return {preset: lab.train(lab.spec(preset)) for preset in PRESETS}


def result_of(folder):
    return folder / (names.MODEL if (folder / names.MODEL).is_dir() else names.ADAPTER)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_and_ends_with_a_result(trained, preset):
    folder = trained[preset]
    losses = values_of(folder, "loss")
    assert len(losses) == 3
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    [finished] = of_kind(folder, Finished)
    assert (finished.step, finished.result) == (3, "model" if preset == "full" else "adapter")
    sizes = sum(file.stat().st_size for file in result_of(folder).rglob("*") if file.name != names.MANIFEST)
    assert finished.result_bytes == sizes
    assert finished.peak_memory_bytes > 10**8


@pytest.mark.parametrize("preset", PRESETS)
def test_the_result_is_whole_and_holds_no_pickle(trained, preset):
    result = result_of(trained[preset])
    checkpoints.verify(result)
    listed = json.loads((result / names.MANIFEST).read_text())["files"]
    assert {*listed, names.MANIFEST} == set(tree_hash(result))
    assert not [name for name in listed if name.endswith(PICKLES)]
    assert {"tokenizer.json", "chat_template.jinja", names.ORIGIN} <= set(listed)
    assert not list(trained[preset].rglob("training_args.bin"))
    assert not list(trained[preset].rglob(".staging*"))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_result_says_what_it_belongs_to(lab, trained, preset):
    origin = json.loads((result_of(trained[preset]) / names.ORIGIN).read_text())
    data = lab.preferences if preset == "dpo" else lab.instructions
    assert origin == {
        "job": trained[preset].name,
        "base_model": str(lab.model),
        "base_fingerprint": fingerprint(lab.model),
        "chat_template": "model",
        "dataset_sha256": data["sha256"],
        "objective": "dpo" if preset == "dpo" else "sft",
        "tuner": "full" if preset == "full" else "lora",
    }


@pytest.mark.parametrize("preset", ["lora", "qlora", "dpo"])
def test_an_adapter_is_its_matrices_and_every_one_has_learned(trained, preset):
    weights = load_file(result_of(trained[preset]) / "adapter_model.safetensors")
    assert len(weights) == 2 * 2 * len(SEVEN)
    assert all(".lora_A." in name or ".lora_B." in name for name in weights)
    assert all(any(kind in name for name in weights) for kind in SEVEN)
    assert all(weight.isfinite().all() for weight in weights.values())
    assert all(weight.abs().max() > 0 for name, weight in weights.items() if ".lora_B." in name)  # they begin at 0


def test_full_training_moves_every_weight_of_the_model(lab, trained):
    before = load_file(lab.model / "model.safetensors")
    after = load_file(trained["full"] / names.MODEL / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert not torch.equal(weight, before[name].float()), name
        assert weight.dtype == torch.float32


def test_no_training_touches_the_files_of_the_base(lab, base_files, trained):
    assert trained.keys() == set(PRESETS)
    assert tree_hash(lab.model) == base_files


@pytest.mark.parametrize("preset", PRESETS)
def test_the_start_is_told_in_true_numbers(lab, trained, preset):
    [started] = of_kind(trained[preset], Started)
    weights = load_file(next(result_of(trained[preset]).glob("*.safetensors")))
    assert started.trainable_parameters == sum(weight.numel() for weight in weights.values())
    assert (started.max_steps, started.resumed_from, started.train_examples, started.eval_examples) == (3, 0, 22, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_evaluation_and_checkpoints_come_when_they_should(trained, preset):
    evaluated = [event.step for event in of_kind(trained[preset], Metrics) if "eval_loss" in event.values]
    assert evaluated == [2, 3]
    assert [event.phase for event in of_kind(trained[preset], Progress)].count(EVALUATING) == 2
    saved = of_kind(trained[preset], Checkpoint)
    assert [event.step for event in saved] == [2, 3]
    for event in saved:
        checkpoints.verify(trained[preset] / event.path)


def test_preferences_are_charted(trained):
    values = [event.values for event in of_kind(trained["dpo"], Metrics) if "loss" in event.values]
    for one in values:
        assert one["rewards/margins"] == pytest.approx(one["rewards/chosen"] - one["rewards/rejected"], abs=1e-4)
        assert 0 <= one["rewards/accuracies"] <= 1
    assert values[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)  # the model still is its own reference
    assert values_of(trained["dpo"], "eval_rewards/margins")


def build(lab, spec):
    """The trainer of a spec, and its ingredients."""
    from studio.jobs.events import EventWriter

    folder = lab.folder(spec)
    ingredients = train_module.gather_ingredients(spec, lab.workspace, EventWriter(folder / names.EVENTS))
    return train_module.build_trainer(ingredients, folder), ingredients


def test_tokens_are_counted_without_padding(lab):
    trainer, ingredients = build(lab, lab.spec("lora", max_steps=-1, num_train_epochs=1, eval_share=0.0))
    trainer.train()
    lengths = [len(row["input_ids"]) for row in ingredients.train_rows]
    assert len(set(lengths)) > 3  # so there was padding to leave out
    assert trainer.real_tokens == sum(lengths)


def test_tokens_of_pairs_are_counted_without_padding(lab):
    trainer, ingredients = build(lab, lab.spec("dpo", max_steps=-1, num_train_epochs=1, eval_share=0.0))
    trainer.train()
    expected = sum(
        2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in ingredients.train_rows
    )
    assert trainer.real_tokens == expected


def test_the_speed_is_real_tokens_by_seconds(lab):
    spec = lab.spec("lora", max_steps=1, per_device_train_batch_size=24, eval_share=0.0)
    [event] = of_kind(lab.train(spec), Metrics)
    _, ingredients = build(lab, spec)
    tokens = sum(len(row["input_ids"]) for row in ingredients.train_rows)  # all of them are in the one batch
    assert event.values["tokens_per_second"] * event.elapsed == pytest.approx(tokens, rel=0.02)


def test_what_decides_about_a_run_is_passed_and_not_left_to_defaults(lab):
    spec = lab.spec("lora", optim="sgd", gradient_checkpointing="on", dtype="float32", seed=5, weight_decay=0.25)
    trainer, _ = build(lab, spec)
    arguments = trainer.args
    assert arguments.optim == "sgd"
    assert arguments.gradient_checkpointing is True
    assert (arguments.seed, arguments.data_seed, arguments.weight_decay) == (5, 5, 0.25)
    assert (arguments.bf16, arguments.fp16) == (False, False)
    assert arguments.logging_nan_inf_filter is False
    assert arguments.report_to == []
    assert arguments.push_to_hub is False
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}
    passed = train_module.training_arguments(
        spec, lab.workspace.root, precision=load.Precision(torch.float32, None), where=torch.device("cpu"),
        checkpointing=False, evaluate=True,
    )  # fmt: skip
    assert {"bf16", "fp16", "optim", "gradient_checkpointing", "max_length", "lr_scheduler_type", "seed"} <= set(passed)


def test_half_precision_is_used_where_it_is_asked_for(lab):
    trainer, _ = build(lab, lab.spec("lora", dtype="bfloat16"))
    frozen = {weight.dtype for weight in trainer.model.parameters() if not weight.requires_grad}
    assert frozen == {torch.bfloat16}
    assert trainer.args.bf16 is True


def test_a_batch_of_four_is_four_batches_of_one(lab):
    """In float32 and without noise, how the examples of a step are grouped changes nothing but the rounding."""
    common = {"dtype": "float32", "max_steps": 5, "learning_rate": 1e-3, "eval_share": 0.0}
    one = lab.train(lab.spec("full", per_device_train_batch_size=4, gradient_accumulation_steps=1, **common))
    four = lab.train(lab.spec("full", per_device_train_batch_size=1, gradient_accumulation_steps=4, **common))
    for name in ("loss", "grad_norm"):
        assert values_of(one, name) == pytest.approx(values_of(four, name), rel=1e-4), name
    assert len(values_of(one, "loss")) == 5


def test_gradient_checkpointing_changes_memory_and_not_numbers(lab):
    losses = [
        values_of(lab.train(lab.spec("lora", dtype="float32", gradient_checkpointing=choice)), "loss")
        for choice in ("on", "off")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("preset", ["lora", "dpo"])
def test_the_same_seed_gives_the_same_adapter_to_the_last_bit(lab, trained, preset):
    again = lab.train(lab.spec(preset))
    assert values_of(again, "loss") == values_of(trained[preset], "loss")
    assert learned_bytes(again) == learned_bytes(trained[preset])


def test_another_seed_gives_another_adapter(lab, trained):
    assert learned_bytes(lab.train(lab.spec("lora", seed=43))) != learned_bytes(trained["lora"])


VARIANTS = {
    "sft-dft": ("lora", {"objective": {"name": "sft", "loss_type": "dft"}}),
    "sft-noise": ("lora", {"objective": {"name": "sft", "neftune_noise_alpha": 5.0}}),
    "dpo-ipo": ("dpo", {"objective": {"name": "dpo", "loss_type": "ipo"}}),
    "dpo-hinge": ("dpo", {"objective": {"name": "dpo", "loss_type": "hinge"}}),
    "dpo-robust": ("dpo", {"objective": {"name": "dpo", "loss_type": "robust", "label_smoothing": 0.1}}),
    "dpo-apo-zero": ("dpo", {"objective": {"name": "dpo", "loss_type": "apo_zero"}}),
    "dpo-apo-down": ("dpo", {"objective": {"name": "dpo", "loss_type": "apo_down"}}),
    "dpo-full": ("dpo", {"tuner": {"name": "full"}}),
    "dora": ("lora", {"tuner": {"name": "lora", "use_dora": True, "lora_dropout": 0.1}}),
    "rslora-q-v": ("lora", {"tuner": {"name": "lora", "use_rslora": True, "target_modules": "q_v"}}),
    "adafactor": ("full", {"optim": "adafactor"}),
    "fused": ("full", {"optim": "adamw_torch_fused", "lr_scheduler_type": "constant_with_warmup"}),
    "plain-template": ("lora", {"chat_template": "plain", "train_sampling_strategy": "group_by_length"}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_of_a_method_really_trains(lab, name):
    preset, changes = VARIANTS[name]
    folder = lab.train(lab.spec(preset, max_steps=2, eval_share=0.0, **changes))
    losses = values_of(folder, "loss")
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    checkpoints.verify(result_of(folder))
    assert not values_of(folder, "eval_loss")


def test_training_learns(lab):
    """Thirty steps on 22 sentences: the loss falls to a fraction."""
    losses = values_of(lab.train(lab.spec("full", max_steps=30, learning_rate=5e-3, save_steps=60)), "loss")
    assert losses[-1] < losses[0] / 2


def test_a_full_model_says_the_same_in_another_process(lab, monkeypatch):
    """transformers alone, without the studio, gives the logits that the trained model had in memory."""
    built = []
    build_trainer = train_module.build_trainer
    monkeypatch.setattr(train_module, "build_trainer", lambda *args: built.append(build_trainer(*args)) or built[0])
    folder = lab.train(lab.spec("full", dtype="float32"))
    ids = [[5, 9, 40, 77, 120]]
    with torch.no_grad():
        expected = built[0].model.eval()(input_ids=torch.tensor(ids)).logits[0, -1]
    program = (
        "import sys, torch, transformers\n"
        "model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype='float32').eval()\n"
        f"print(model(input_ids=torch.tensor({ids})).logits[0, -1].tolist())"
    )
    command = [sys.executable, "-c", program, str(folder / names.MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = torch.tensor(json.loads(done.stdout))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_examples_whose_answer_is_cut_off_are_left_out_and_told(lab, tmp_path):
    rows = [{"prompt": "tea", "completion": "good"}] * 3 + [{"prompt": "fog " * 200, "completion": "bad"}]
    data = import_rows(lab.workspace, write_rows(tmp_path / "long.jsonl", rows))
    folder = lab.train(lab.spec("lora", dataset=data, eval_share=0.0))
    assert [event.message for event in of_kind(folder, Warned)] == [
        "1 of 4 examples are left out: max_length cuts off the whole answer."
    ]
    assert of_kind(folder, Started)[0].train_examples == 3


@pytest.mark.parametrize("preset", ["lora", "dpo"])
def test_a_share_of_warm_up_below_one_step_takes_none_of_the_learning(lab, preset):
    """Of three votes: one step, and it has the full rate. So few are told."""
    folder = lab.train(lab.spec(preset, max_steps=-1, num_train_epochs=1, per_device_train_batch_size=64))
    assert values_of(folder, "learning_rate") == [lab.spec(preset).learning_rate]
    assert [event.message for event in of_kind(folder, Warned)] == [
        "Only 1 optimizer step: little is learned in so few. Raise the epochs."
    ]


def test_a_share_of_warm_up_is_rounded_down(lab):
    folder = lab.train(lab.spec("lora", max_steps=5, warmup_steps=0.5, lr_scheduler_type="constant_with_warmup"))
    rate = lab.spec("lora").learning_rate
    assert values_of(folder, "learning_rate") == pytest.approx([0, rate / 2, rate, rate, rate])


@pytest.mark.parametrize("preset", ["lora", "dpo"])
def test_a_length_that_leaves_nothing_to_learn_is_refused(lab, preset):
    folder = lab.folder(lab.spec(preset, max_length=8))
    with pytest.raises(UserError, match="max_length 8 cuts off the whole answer, in every") as caught:
        train_in(folder)
    assert "Raise max length" in caught.value.hint
    assert not (folder / names.CHECKPOINTS).exists()
