"""A job that continues from another: what it begins with, what it is measured against, what it leaves."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from studio import workspace as names
from studio.adapters.bringing import bring_in
from studio.adapters.record import ImportSource
from studio.catalog import Catalog
from studio.errors import UserError
from studio.jobs.code.bundle import JobCode
from studio.jobs.earlier_jobs import check_earlier_jobs, learnable_options, starting_model
from studio.jobs.events import EventWriter, Started
from studio.jobs.store import JobStore
from studio.worker import train as train_module
from tests.conftest import make_tiny_model
from tests.worker.adapters_made import make_adapter
from tests.worker.conftest import of_kind, train_in, values_of

pytestmark = pytest.mark.slow
SAME = {"dtype": "float32", "eval_share": 0.0, "learning_rate": 5e-3}


def spec_of(lab, objective, start_from="", **changes):
    options = changes.pop("options", {})
    data = lab.instructions if objective in ("sft", "ppo", "rloo", "grpo") else lab.preferences
    tuner = changes.pop("preset", "lora")
    return lab.spec(
        tuner, dataset=data, objective={"name": objective, **options}, start_from=start_from, **{**SAME, **changes}
    )


@pytest.fixture(scope="module")
def taught(lab):
    """A finished supervised job."""
    return lab.train(spec_of(lab, "sft", learning_rate=2e-2))


@pytest.fixture(scope="module")
def judge(lab, taught):
    """A finished reward model that continues from it."""
    return lab.train(spec_of(lab, "reward", taught.name))


def weights(folder):
    return load_file(folder / names.ADAPTER / "adapter_model.safetensors")


def begun(lab, spec):
    """The trainer of a job, before its first step."""
    folder = lab.folder(spec)
    return train_module.build_trainer(
        train_module.gather_ingredients(spec, lab.workspace, EventWriter(folder / names.EVENTS)), folder
    )


@pytest.mark.parametrize("objective", ["sft", "dpo", "orpo", "reward"])
def test_it_begins_where_the_earlier_one_ended(lab, taught, objective):
    trainer = begun(lab, spec_of(lab, objective, taught.name))
    own = {name: weight for name, weight in trainer.model.named_parameters() if ".default." in name and "lora" in name}
    for name, weight in weights(taught).items():
        key = name.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")
        assert torch.equal(own[key], weight), name
    learning = [name for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    assert learning
    assert not [name for name in learning if ".ref." in name]


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_it_is_measured_against_where_it_began(lab, taught, objective):
    """The first loss is that of no difference at all, which the base model would not give."""
    values = lab.train(spec_of(lab, objective, taught.name))
    assert values_of(values, "loss")[0] == pytest.approx({"dpo": 0.693147, "kto": 0.5}[objective], abs=1e-5)
    assert values_of(values, "rewards/margins")[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("objective", ["ppo", "rloo", "grpo"])
def test_the_three_stages_of_rlhf_follow_each_other(lab, taught, judge, objective):
    options = {"reward_model": judge.name, "max_completion_length": 6}
    folder = lab.train(spec_of(lab, objective, taught.name, options=options))
    assert values_of(folder, "kl")[0] == pytest.approx(0, abs=1e-5)
    assert values_of(folder, "reward")
    assert values_of(folder, "rewards/reward_model/mean")
    assert set(weights(folder)) == set(weights(taught))
    assert not (folder / names.ADAPTER / "ref").exists()


def test_the_judge_gives_an_answer_the_mark_that_it_learned_for_it(lab, taught, judge):
    """The reward function puts prompt and answer together as the reward model's own rows were."""
    from studio.data.chat_template import ChatTokenizer
    from studio.worker import load
    from studio.worker.ingredients import tokenized_rows
    from studio.worker.reward_functions import reward_functions

    spec = spec_of(lab, "ppo", options={"reward_model": judge.name})
    chat, tokenizer = ChatTokenizer(lab.model), load.load_tokenizer(lab.model, "model")
    [score] = reward_functions(spec, lab.workspace, lab.model, tokenizer, torch.device("cpu"))
    asked = {"role": "user", "content": "what is question 3"}
    texts = ["the lamp 3 is lit", "fog and gulls 3, bad tea"]
    pair = {"prompt": [asked]} | {
        kind: [{"role": "assistant", "content": text}] for kind, text in zip(("chosen", "rejected"), texts, strict=True)
    }
    [[row]] = [tokenized_rows([pair], chat, spec_of(lab, "reward"))[0]]
    prompt = chat.tokenizer.encode(chat.render([asked], add_generation_prompt=True), add_special_tokens=False).ids
    answers = [chat.tokenizer.encode(text, add_special_tokens=False).ids + [2] for text in texts]
    marks = score(prompts=[prompt, prompt], completion_ids=answers)
    with torch.no_grad():
        expected = [
            float(score._model(input_ids=torch.tensor([row[name]])).logits) for name in ("chosen_ids", "rejected_ids")
        ]
    assert marks == pytest.approx(expected, abs=1e-5)


def test_a_job_that_continues_can_be_stopped_and_go_on(lab, taught):
    spec = spec_of(lab, "dpo", taught.name, max_steps=4, save_steps=2)
    folder = lab.train(spec)
    again = lab.copy(folder)
    late = again / names.CHECKPOINTS / "checkpoint-4"
    for file in late.iterdir():
        file.unlink()
    late.rmdir()
    train_in(again)
    assert of_kind(again, Started)[-1].resumed_from == 2
    assert all(torch.equal(weight, weights(again)[name]) for name, weight in weights(folder).items())


def test_a_whole_model_is_the_base_of_what_continues_from_it(lab):
    first = lab.train(spec_of(lab, "sft", preset="full"))
    spec = spec_of(lab, "dpo", first.name, preset="full")
    check_earlier_jobs(spec, lab.workspace, lab.model)
    assert starting_model(spec, lab.workspace) == first / names.MODEL
    folder = lab.train(spec)
    assert values_of(folder, "loss")[0] == pytest.approx(0.693147, abs=1e-5)


def bring(lab, folder, **settings):
    """An adapter as an import leaves it; its id."""
    source = json.loads((folder / "adapter_config.json").read_text()) | settings
    outside = lab.workspace.root / f"outside-{len(list(lab.workspace.adapters.iterdir()))}"
    outside.mkdir()
    shutil.copyfile(folder / "adapter_model.safetensors", outside / "adapter_model.safetensors")
    (outside / "adapter_config.json").write_text(json.dumps(source))
    where = ImportSource(kind="folder", name="outside")
    bases = {str(lab.model): lab.model}
    return bring_in([outside], lab.workspace, source=where, bases=bases, base_model=str(lab.model), limit=10**9).id


@pytest.fixture(scope="module")
def brought(lab):
    """An imported adapter that changes q and v alone."""
    job = make_adapter(lab, "elsewhere")
    return bring(lab, lab.workspace.job(job) / names.ADAPTER), lab.workspace.job(job)


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_an_imported_adapter_is_learned_on(lab, brought, objective):
    """From where it stands, and DPO is measured against it."""
    name, origin = brought
    options = learnable_options(name, lab.workspace)
    assert (options["r"], options["lora_alpha"], options["target_modules"]) == (4, 8, "q_v")
    folder = lab.train(spec_of(lab, objective, name, tuner=options))
    learned, before = weights(folder), weights(origin)
    assert set(learned) == set(before)
    moved = [float((learned[key] - weight).norm() / weight.norm()) for key, weight in before.items()]
    assert 0 < max(moved) < 0.5
    if objective == "dpo":
        assert values_of(folder, "loss")[0] == pytest.approx(0.693147, abs=1e-5)


def test_a_checkpoint_is_learned_on(lab, taught):
    kept = (taught / names.CHECKPOINTS).glob("checkpoint-*")
    step = min(int(one.name.rpartition("-")[2]) for one in kept)  # not the one that the result is like
    name = f"{taught.name}@{step}"
    trainer = begun(lab, spec_of(lab, "dpo", name))
    own = dict(trainer.model.named_parameters())
    saved = load_file(taught / names.CHECKPOINTS / f"checkpoint-{step}" / "adapter_model.safetensors")
    for key, weight in saved.items():
        key = key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")
        assert torch.equal(own[key], weight), key


def test_what_cannot_be_learned_on_is_refused_with_the_reason(lab, taught, brought):
    def reason(start_from, **changes):
        with pytest.raises(UserError) as caught:
            check_earlier_jobs(spec_of(lab, "sft", start_from, **changes), lab.workspace, lab.model)
        return caught.value.message

    name, job = brought
    assert "r=4, lora_alpha=8, target_modules=q_v" in reason(name)
    patterned = bring(lab, job / names.ADAPTER, alpha_pattern={"q_proj": 32})
    assert "no plain LoRA" in reason(patterned, tuner=learnable_options(name, lab.workspace))
    assert "is an adapter" in reason(name, preset="full")
    assert "no checkpoint of that step" in reason(f"{taught.name}@999")
    config = lab.workspace.adapter(name) / names.ADAPTER / "tokenizer.json"
    text = config.read_text()
    config.write_text(text.replace('"vocab":', '"vocab": {}, "old":', 1))
    try:
        assert "tokenizer" in reason(name, tuner=learnable_options(name, lab.workspace))
    finally:
        config.write_text(text)


def test_the_script_of_a_job_that_continues_from_an_imported_adapter_begins_with_it(lab, brought, tmp_path):
    name, _ = brought
    spec = spec_of(lab, "sft", name, tuner=learnable_options(name, lab.workspace))
    folder = lab.train(spec)
    JobCode(lab.workspace, JobStore(lab.workspace, Catalog(lab.workspace.catalog)).view(folder.name)).write(tmp_path)
    copied = load_file(tmp_path / "start_adapter" / "adapter_model.safetensors")
    kept = load_file(lab.workspace.adapter(name) / names.ADAPTER / "adapter_model.safetensors")
    assert all(torch.equal(copied[key], weight) for key, weight in kept.items())
    assert f"Begins with the adapter of {name}" in (tmp_path / "train.py").read_text()


def test_what_does_not_fit_is_refused_with_the_reason(lab, taught, judge, tmp_path):
    other = make_tiny_model(tmp_path / "other", seed=9)
    full = lab.train(spec_of(lab, "sft", preset="full", max_steps=1))

    def reason(spec, base=lab.model):
        with pytest.raises(UserError) as caught:
            check_earlier_jobs(spec, lab.workspace, base)
        return caught.value.message

    assert "no result" in reason(spec_of(lab, "sft", "nobody-00000000"))
    assert "another shape: it was trained with r=8" in reason(
        spec_of(lab, "sft", taught.name, tuner={"name": "lora", "r": 4})
    )
    assert "another base model" in reason(spec_of(lab, "sft", taught.name), other)
    assert "not enough to learn on" in reason(spec_of(lab, "sft", taught.name, tuner={"name": "prefix_tuning"}))
    assert "whole model" in reason(spec_of(lab, "sft", full.name))
    assert "is an adapter" in reason(spec_of(lab, "sft", taught.name, preset="full"))
    assert "chat template" in reason(spec_of(lab, "sft", taught.name, chat_template="plain"))
    assert "cannot learn to write" in reason(spec_of(lab, "sft", judge.name))
    assert "no reward model" in reason(spec_of(lab, "ppo", options={"reward_model": taught.name}))
    assert "another base model" in reason(spec_of(lab, "ppo", options={"reward_model": judge.name}), other)


def test_a_damaged_reward_model_is_not_believed(lab, judge):
    copy = lab.copy(judge)
    file = copy / names.ADAPTER / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match="is damaged"):
        lab.train(spec_of(lab, "ppo", options={"reward_model": copy.name, "max_completion_length": 4}))
