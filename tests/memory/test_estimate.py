"""The estimate as a whole: parts, phases, what fits, cards, several cards, the command line."""

import json
from dataclasses import replace

import pytest

from studio import hardware
from studio.cli.main import run
from studio.errors import UserError
from studio.memory import gpus, models
from studio.memory.answer import answer
from studio.memory.estimate import GIB, Box, estimate, largest, largest_batch, longest_sequence
from studio.memory.setup import OBJECTIVES, TUNERS, Setup
from studio.memory.shapes import read_shape

LLAMA = read_shape(models.find("meta-llama/Llama-2-7b-hf"))
MISTRAL = "mistralai/Mistral-7B-v0.1"
TIED = read_shape(models.find("meta-llama/Llama-3.2-1B-Instruct"))


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_tuner_and_objective_has_parts_that_add_up(tuner, objective):
    found = estimate(Setup(tuner=tuner, objective=objective, batch=2), TIED)
    assert sum(found.parts.values()) == pytest.approx(found.allocated)
    assert found.allocated == max(found.phases.values())
    assert found.allocated < found.needed < found.nvidia_smi


def test_an_unknown_word_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="adamw_torch_fused"):
        Setup(optim="adam")
    with pytest.raises(UserError, match="cannot be trained"):
        Setup(tuner="full", quantization="nf4")


def test_memory_grows_with_batch_length_and_rank():
    base = Setup(batch=2, length=1024, options={"r": 8})
    for more in (replace(base, batch=3), replace(base, length=1100), replace(base, options={"r": 64})):
        assert estimate(more, LLAMA).allocated > estimate(base, LLAMA).allocated


def test_what_saves_memory_saves_memory():
    base = Setup(batch=4, length=2048, checkpointing=False)
    for less in (
        replace(base, checkpointing=True),
        replace(base, quantization="nf4"),
        replace(base, quantization="int8"),
    ):
        assert estimate(less, LLAMA).allocated < estimate(base, LLAMA).allocated
    full = Setup(tuner="full")
    for optim in ("adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"):
        assert estimate(replace(full, optim=optim), LLAMA).allocated < estimate(full, LLAMA).allocated


def test_full_tuning_of_seven_billion_weights_takes_eight_bytes_each_with_fused_adam():
    found = estimate(Setup(tuner="full", length=64), LLAMA)
    assert found.allocated / LLAMA.parameters == pytest.approx(8, rel=0.01)
    foreach = estimate(Setup(tuner="full", length=64, optim="adamw_torch"), LLAMA)
    assert foreach.allocated / LLAMA.parameters == pytest.approx(10, rel=0.001)
    assert foreach.phase == "optimizer"


def test_a_reference_model_is_counted_where_no_adapter_can_be_switched_off():
    weights = estimate(Setup(), LLAMA).terms.weights
    assert estimate(Setup(objective="dpo", reference="model"), LLAMA).terms.reference == weights
    assert estimate(Setup(objective="dpo"), LLAMA).terms.reference == 0
    assert estimate(Setup(tuner="full", objective="dpo"), LLAMA).terms.reference == weights
    assert estimate(Setup(tuner="full", objective="dpo", reference="precomputed"), LLAMA).terms.reference == 0


def test_ppo_has_a_value_head_and_as_many_models_as_it_is_told():
    weights, headless = estimate(Setup(), LLAMA).terms.weights, 4 * (LLAMA.parameters - LLAMA.embedding_weights)
    assert estimate(Setup(objective="ppo"), LLAMA).terms.reference == 0
    assert estimate(Setup(objective="ppo", reward_model=True), LLAMA).terms.reference == headless
    assert estimate(Setup(tuner="full", objective="ppo"), LLAMA).terms.reference == weights
    four = estimate(Setup(tuner="full", objective="ppo", reward_model=True, value_model=True), LLAMA).terms
    assert four.reference == weights + headless + weights + four.gradients + four.optimizer


@pytest.mark.parametrize("usable", [8 * GIB, 24 * GIB, 80 * GIB])
def test_the_largest_batch_and_length_fit_and_one_more_does_not(usable):
    setup, endless = Setup(quantization="nf4", batch=2, length=1000), replace(LLAMA, max_length=0)
    batch, length = largest_batch(setup, endless, usable), longest_sequence(setup, endless, usable)
    assert estimate(replace(setup, batch=batch), endless).fits(usable)
    assert not estimate(replace(setup, batch=batch + 1), endless).fits(usable)
    assert estimate(replace(setup, length=length), endless).fits(usable)
    assert not estimate(replace(setup, length=length + 1), endless).fits(usable)


def test_nothing_fits_is_zero_and_everything_is_the_limit():
    assert largest(lambda size: False, 100) == 0
    assert largest(lambda size: True, 100) == 100
    assert largest(lambda size: size <= 37, 100) == 37


def test_the_longest_sequence_ends_where_the_models_context_does():
    shape = replace(LLAMA, max_length=4096)
    assert longest_sequence(Setup(quantization="nf4"), shape, 80 * GIB) == 4096


def test_a_phase_without_bytes_of_its_own_is_left_out():
    assert "embeddings" not in estimate(Setup(), LLAMA).phases
    assert "generation" not in estimate(Setup(), LLAMA).phases
    assert "generation" in estimate(Setup(objective="grpo"), LLAMA).phases


def test_a_card_that_may_be_several_is_refused_with_their_names():
    for name in ("RTX", "A100", "V100", "RTX 4060 Ti", "RTX 3080"):
        with pytest.raises(UserError, match="may be several cards"):
            gpus.find(name)


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.2-3B", "Qwen/Qwen2.5-7B", "google/gemma-2-9b", "llama-2-7b-hf",
     "Llama-3.3-70B-Instruct", "Qwen2.5-72B"],
)  # fmt: skip
def test_a_base_model_has_the_shape_of_its_tuned_one(name):
    assert models.find(name)["hidden_size"] >= 3072


def test_another_organisations_model_is_not_taken_for_a_known_one():
    with pytest.raises(UserError):
        models.find("somebody/Llama-3.1-8B")


def test_several_cards_divide_what_they_can():
    full = Setup(tuner="full", cards=4)
    alone = estimate(replace(full, cards=1), LLAMA)
    by = {name: estimate(replace(full, sharding=name), LLAMA).terms for name in ("ddp", "zero2", "zero3", "fsdp")}
    assert by["ddp"].weights == alone.terms.weights
    assert by["zero2"].optimizer == alone.terms.optimizer / 4
    assert by["zero2"].weights == alone.terms.weights
    assert by["zero3"].weights < alone.terms.weights / 3
    assert by["fsdp"].gradients == alone.terms.gradients / 4


def test_measurements_of_this_box_correct_the_prediction():
    plain = estimate(Setup(), LLAMA)
    corrected = estimate(Setup(), LLAMA, Box(context=GIB, factor=1.1, jobs=3))
    assert corrected.allocated == pytest.approx(1.1 * plain.allocated)
    assert corrected.needed > 1.1 * plain.needed


def test_cards_are_found_by_their_words():
    assert len(gpus.catalogue()) >= 30
    assert gpus.find("NVIDIA GeForce RTX 4090").name == "RTX 4090"
    assert gpus.find("a100 80gb").name == "A100 80GB"
    assert gpus.find("RTX 4060").name == "RTX 4060 8GB"
    assert gpus.find("h100").name == "H100 80GB"
    assert gpus.find("24 GiB").usable == 24 * GIB
    assert {card.kind for card in gpus.catalogue().values()} >= {"consumer", "data centre", "apple"}
    with pytest.raises(UserError, match="Voodoo"):
        gpus.find("Voodoo 2")


@pytest.mark.parametrize(
    ("name", "gib", "known"),
    [("NVIDIA GeForce RTX 4060", 8, "RTX 4060 8GB"), ("NVIDIA GeForce RTX 4060 Ti", 16, "RTX 4060 Ti 16GB"),
     ("NVIDIA GeForce RTX 4060 Ti", 8, "RTX 4060 Ti 8GB"), ("NVIDIA A100-PCIE-40GB", 40, "A100 40GB"),
     ("NVIDIA A100-SXM4-80GB", 80, "A100 80GB"), ("NVIDIA H100 80GB HBM3", 80, "H100 80GB"),
     ("NVIDIA H100 PCIe", 80, "H100 PCIe 80GB"), ("NVIDIA RTX 6000 Ada Generation", 48, "RTX 6000 Ada"),
     ("NVIDIA GeForce RTX 4070 Ti SUPER", 16, "RTX 4070 Ti Super"), ("NVIDIA RTX A2000", 12, None),
     ("NVIDIA GeForce RTX 3080 Laptop GPU", 16, None)],
)  # fmt: skip
def test_a_card_of_this_box_has_the_speed_of_its_own_kind_or_none(monkeypatch, name, gib, known):
    monkeypatch.setattr(hardware, "gpus", lambda: [hardware.Gpu(name=name, total_bytes=gib * GIB, used_bytes=0)])
    (found,) = gpus.of_this_box()
    assert found.flops == (gpus.find(known).flops if known else 0)


def test_the_cards_of_this_box_tell_what_is_free(monkeypatch):
    card = hardware.Gpu(name="NVIDIA GeForce RTX 4090", total_bytes=24 * GIB, used_bytes=5 * GIB)
    monkeypatch.setattr(hardware, "gpus", lambda: [card])
    (found,) = gpus.of_this_box()
    assert found.free == 19 * GIB
    assert found.flops == gpus.find("RTX 4090").flops


def test_the_answer_has_every_number_of_the_command(capsys):
    code = run([
        "memory", "--model", "mistralai/Mistral-7B-v0.1", "--tuner", "lora", "--r", "16", "--batch", "4", "--length",
        "4096", "--targets", "q_proj,k_proj,v_proj,o_proj", "--dropout", "0.1", "--logit-bytes", "14", "--gpu",
        "RTX 4090", "--dtype", "bf16", "--json",
    ])  # fmt: skip
    values = json.loads(capsys.readouterr().out)
    assert code == 0
    assert values["allocated"] / GIB == pytest.approx(24.87, rel=0.01)
    assert values["fits"] is False
    assert values["max_batch"] == 3
    assert set(values) >= {
        "weights", "adapter", "gradients", "optimizer", "activations", "loss", "allocated", "needed", "nvidia_smi",
        "trainable_parameters", "parameters", "phase", "fits", "max_batch", "max_length",
    }  # fmt: skip


def test_the_command_reads_a_config_file_and_speaks_in_gib(tmp_path, capsys):
    config = {**models.find("Qwen/Qwen2.5-0.5B-Instruct"), "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert run(["memory", "--config", str(tmp_path / "config.json"), "--tuner", "full", "--gpu", "RTX 3090"]) == 0
    words = capsys.readouterr().out
    assert "494,032,768" in words
    assert "RTX 3090: fits" in words


def test_the_command_wants_one_model_and_names_what_it_does_not_know(tmp_path, capsys):
    assert run(["memory"]) == 2
    (tmp_path / "config.json").write_text("[]")
    assert run(["memory", "--config", str(tmp_path / "config.json")]) == 2
    assert run(["memory", "--model", "mistralai/Mistral-7B-v0.1", "--gpu", "nothing"]) == 2
    assert "no card 'nothing'" in capsys.readouterr().err


def test_the_command_tells_the_time_of_a_job(capsys):
    common = ["memory", "--model", "mistralai/Mistral-7B-v0.1", "--batch", "4", "--steps", "1000"]
    assert run([*common, "--gpu", "RTX 4090", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["seconds"] == 1000 * values["seconds_per_step"]
    assert values["seconds_per_step"] == pytest.approx(4 * 1024 / values["tokens_per_second"])
    assert run([*common, "--gpu", "RTX 4090"]) == 0
    assert "all steps about" in capsys.readouterr().out
    assert run([*common, "--gpu", "24 GiB", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] is None


WRONG = [
    (["--model", "nobody/nothing"], "config.json"),
    (["--model", MISTRAL, "--config", "x.json"], "Give --model or --config"),
    *[(["--model", MISTRAL, *given], said) for given, said in [
        (["--gpu", "Voodoo"], "no card"), (["--length", "0"], "at least 1"), (["--batch", "0"], "at least 1"),
        (["--r", "0"], "r 0"), (["--dropout", "1"], "out of its limits"), (["--logit-bytes", "-3"], "limits"),
        (["--supervised-share", "0"], "limits"), (["--modules-to-save", "foo"], "embed_tokens"),
        (["--tuner", "prompt_tuning", "--set", "num_virtual_tokens=abc"], "whole number"), (["--set", "x"], "no value"),
        (["--targets", "nope"], "q_proj"), (["--targets", ""], "No target modules"), (["--dtype", "fp8"], "bfloat16"),
        (["--tuner", "full", "--quantization", "nf4"], "cannot be trained"), (["--steps", "-1"], "--steps"),
    ]],
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), WRONG, ids=str)
def test_the_command_refuses_what_is_wrong_in_a_sentence(given, said, capsys, monkeypatch):
    monkeypatch.setenv("STUDIO_HUB_TIMEOUT", "1")
    assert run(["memory", *given]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [("{not json", "as JSON"), ("\xff", "as JSON"), ({"hidden_size": -64}, "hidden_size is -64"),
     ({"num_attention_heads": 0}, "num_attention_heads is 0"), ({"vocab_size": "many"}, "lacks a number"),
     ({"num_hidden_layers": None}, "lacks a number"), ({"model_type": "mamba"}, "do not know the architecture")],
    ids=str,
)  # fmt: skip
def test_the_command_refuses_a_broken_config(changes, said, tmp_path, capsys):
    whole = {**models.find("Qwen/Qwen2.5-0.5B-Instruct"), **changes} if isinstance(changes, dict) else None
    (tmp_path / "config.json").write_bytes(json.dumps(whole).encode() if whole else changes.encode("latin-1"))
    assert run(["memory", "--config", str(tmp_path / "config.json")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_command_takes_every_option_of_a_published_run(capsys):
    given = [
        "memory", "--model", MISTRAL, "--tuner", "lora", "--r", "16", "--batch", "4", "--length", "4096",
        "--quantization", "nf4", "--objective", "dpo", "--optimizer", "adamw_8bit", "--dtype", "bf16",
        "--no-checkpointing", "--loss", "full", "--logit-bytes", "12", "--targets", "q_proj,k_proj", "--adapter-dtype",
        "bf16", "--dropout", "0.1", "--gpu", "RTX 4090", "--json",
    ]  # fmt: skip
    assert run(given) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is False


def test_an_answer_without_a_card_leaves_its_questions_open():
    values = answer(Setup(), TIED)
    assert values["fits"] is None
    assert values["max_batch"] is None
