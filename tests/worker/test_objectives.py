"""Every objective: the losses are TRL's own, and what it promises comes about."""

import random
from itertools import pairwise

import pytest
import torch

from studio import workspace as names
from studio.data.chat_template import Sequence
from studio.errors import UserError
from studio.jobs.events import EventWriter, Started
from studio.jobs.training_data import planned_steps
from studio.methods.objectives import OBJECTIVES
from studio.methods.objectives.kto import arrange, check
from studio.methods.tuners import TUNERS
from studio.worker import load
from studio.worker import train as train_module
from studio.worker.arguments import training_arguments
from tests.conftest import import_rows, make_tiny_model, preference_rows, write_rows
from tests.worker.conftest import of_kind, values_of

pytestmark = pytest.mark.slow
# TRL's ORPO and CPO put an end of text after answers that do not end with one; this template ends them so.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CALM = {"dtype": "float32", "eval_share": 0.0, "lr_scheduler_type": "constant", "warmup_steps": 0}


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """A tiny model whose template ends with the answer's end."""
    folder = make_tiny_model(tmp_path_factory.mktemp("ending") / "tiny-ending")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def liked(lab):
    """A data set of single answers with a label."""
    return import_rows(lab.workspace, write_rows(lab.workspace.root / "liked.jsonl", liked_rows()))


def liked_rows():
    return [
        {
            "prompt": f"what is question {i}",
            "completion": "the lamp is lit" if i % 2 else "bad tea",
            "label": i % 2 == 1,
        }
        for i in range(24)
    ]


def spec_of(lab, objective, **changes):
    options = changes.pop("options", {})
    changes = {"dataset": lab.preferences, **CALM, "learning_rate": 5e-3, **changes}
    return lab.spec("lora", objective={"name": objective, **options}, **changes)


def said(role, text):
    return [{"role": role, "content": text}]


def conversations(objective, spec):
    """The rows as TRL wants them: messages, which it tokenises by itself."""
    if objective == "kto":
        rows = [
            {
                "prompt": said("user", row["prompt"]),
                "completion": said("assistant", row["completion"]),
                "label": row["label"],
            }
            for row in liked_rows()
        ]
        return random.Random(spec.seed).sample(rows, len(rows))
    return [
        {
            "prompt": said("user", row["prompt"]),
            "chosen": said("assistant", row["chosen"]),
            "rejected": said("assistant", row["rejected"]),
        }
        for row in preference_rows()
    ]


def losses_of_trl(spec, folder, tmp_path):
    """The losses of TRL's trainer as it is, on its own tokens."""
    from datasets import Dataset
    from transformers import set_seed

    objective = OBJECTIVES[spec.objective.name]
    where, precision = torch.device("cpu"), load.Precision(torch.float32, None)
    set_seed(spec.seed)
    scores = objective.task_type == "SEQ_CLS"
    model = load.load_model(folder, dtype=torch.float32, where=where, spec=spec, scores=scores)
    trainer_class, config_class = objective.trainer()
    arguments = training_arguments(
        spec, tmp_path, precision=precision, where=where, checkpointing=False, evaluate=False
    )
    trainer = trainer_class(
        model=model,
        args=config_class(**arguments),
        train_dataset=Dataset.from_list(conversations(objective.name, spec)),
        processing_class=load.load_tokenizer(folder, "model"),
        peft_config=TUNERS["lora"].peft_config(spec.tuner, model.config.to_dict(), objective.task_type),
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("orpo", {}),
        ("cpo", {}),
        ("cpo", {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}),
        ("kto", {}),
        ("kto", {"loss_type": "apo_zero_unpaired", "desirable_weight": 2.0}),
        ("reward", {"center_rewards_coefficient": 0.01}),
        ("dpo", {}),
    ],
)
def test_the_losses_are_those_of_plain_trl_on_the_same_conversations(lab, ending, liked, objective, options, tmp_path):
    spec = spec_of(
        lab, objective, options=options, model=ending, dataset=liked if objective == "kto" else lab.preferences,
        max_steps=4, gradient_accumulation_steps=2, learning_rate=1e-3,
    )  # fmt: skip
    own = values_of(lab.train(spec), "loss")
    assert own == pytest.approx(losses_of_trl(spec, ending, tmp_path), rel=1e-4)
    assert len(set(own)) > 1


@pytest.mark.parametrize(
    ("objective", "options", "promises"),
    [
        ("dpo", {}, {"rewards/margins": True}),
        ("orpo", {}, {"loss": False, "log_odds_chosen": True}),
        ("cpo", {}, {"loss": False}),
        ("cpo", {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}, {"rewards/margins": True}),
        ("kto", {}, {"loss": False, "rewards/margins": True}),
    ],
)
def test_what_an_objective_promises_comes_about(lab, objective, options, promises):
    rises_in(lab.train(spec_of(lab, objective, options=options, max_steps=14, learning_rate=1e-2)), promises)


def rises_in(folder, promises):
    """Each figure has risen, or fallen: {metric: whether it rises}."""
    for metric, rises in promises.items():
        values = values_of(folder, metric)
        first, last = sum(values[:3]) / 3, sum(values[-3:]) / 3
        assert (last > first) is rises, (metric, values)


def test_a_reward_model_ranks_pairs_that_it_has_not_seen(lab):
    folder = lab.train(spec_of(lab, "reward", eval_share=0.25, eval_steps=15, max_steps=15, learning_rate=1e-2))
    rises_in(folder, {"margin": True})
    assert values_of(folder, "eval_accuracy")[-1] > 0.8
    assert (folder / names.ADAPTER / "adapter_model.safetensors").is_file()


def test_a_reward_model_reads_a_pair_whole_or_not_at_all():
    short, long = Sequence([1, 2, 3], [-100, 2, 3]), Sequence([1, 2, 3, 4, 5], [-100, 2, 3, 4, 5])
    columns = OBJECTIVES["reward"].columns
    assert columns([short, long], 5) == [{"chosen_ids": [1, 2, 3], "rejected_ids": [1, 2, 3, 4, 5]}]
    assert columns([short, long], 4) == columns([long, short], 4) == columns([short, short], 5) == []


def test_dpo_does_all_its_losses(lab):
    for loss in ("exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "apo_zero", "discopop"):
        options = {"loss_type": loss, "label_smoothing": 0.1 if loss == "exo_pair" else 0.0}
        values = values_of(lab.train(spec_of(lab, "dpo", options=options, max_steps=2)), "loss")
        assert len(set(values)) > 1, loss
        assert torch.isfinite(torch.tensor(values)).all(), loss


def test_kto_takes_pairs_apart_and_keeps_labels(lab, liked):
    for data in (lab.preferences, liked):
        spec = spec_of(lab, "kto", dataset=data)
        folder = lab.folder(spec)
        rows = train_module.gather_ingredients(spec, lab.workspace, EventWriter(folder / names.EVENTS)).train_rows
        assert sum(row["label"] for row in rows) == len(rows) / 2
        assert len(rows) == (48 if data is lab.preferences else 24)


def test_kto_compares_each_prompt_with_another_answer_of_its_batch():
    rows = [{"prompt_ids": [i], "completion_ids": [100 + i], "label": True} for i in range(10)]
    arranged = arrange(rows, 4, seed=3)
    assert sorted(row["completion_ids"] for row in arranged) == sorted(row["completion_ids"] for row in rows)
    assert [row["prompt_ids"] for row in arranged] != [row["prompt_ids"] for row in rows]
    for start in (0, 4, 8):
        batch = arranged[start : start + 4]
        for before, row in pairwise([batch[-1], *batch]):
            assert row["KL_completion_ids"] == before["completion_ids"]
            assert row["KL_completion_ids"] != row["completion_ids"]


def test_kto_with_one_answer_a_batch_is_refused_but_for_the_loss_that_can(lab, liked):
    with pytest.raises(UserError, match="batch of one"):
        check(spec_of(lab, "kto", dataset=liked, per_device_train_batch_size=1))
    alone = {"loss_type": "apo_zero_unpaired"}
    spec = spec_of(lab, "kto", dataset=liked, per_device_train_batch_size=1, options=alone)
    check(spec)
    assert len(values_of(lab.train(spec), "loss")) == 3


def test_kto_is_the_same_with_and_without_the_short_way(lab, liked, monkeypatch):
    spec = spec_of(lab, "kto", dataset=liked)
    short = values_of(lab.train(spec), "loss")
    monkeypatch.setattr(train_module, "shorten", lambda model: False)
    assert values_of(lab.train(spec), "loss") == pytest.approx(short, rel=1e-4)


def test_the_same_seed_gives_the_same_reward_model(lab):
    spec = spec_of(lab, "reward")
    first, second = (values_of(lab.train(spec), "loss") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("objective", ["grpo", "rloo"])
def test_a_model_that_is_rewarded_for_a_letter_comes_to_use_it(lab, objective):
    options = {"reward_contains": "e", "max_completion_length": 6, "num_generations": 8, "beta": 0.0}
    spec = spec_of(
        lab, objective, dataset=lab.instructions, options=options, max_steps=24, learning_rate=2e-2,
        per_device_train_batch_size=16,
    )  # fmt: skip
    rewards = values_of(lab.train(spec), "reward")
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.1, rewards


@pytest.mark.parametrize(("objective", "trained"), [("grpo", 0), ("rloo", 1), ("ppo", 2)])
def test_prompts_come_from_every_kind_of_data(lab, liked, objective, trained):
    """Each of them makes its rows of every kind, and learns from those of one."""
    options = {"reward_words": 3, "max_completion_length": 4}
    specs = [
        spec_of(lab, objective, dataset=data, options=options, max_steps=2)
        for data in (lab.instructions, lab.preferences, liked)
    ]
    for spec in specs:
        events = EventWriter(lab.folder(spec) / names.EVENTS)
        rows = train_module.gather_ingredients(spec, lab.workspace, events).train_rows
        assert len(rows) == 24
        assert all(row["prompt"] for row in rows)
    folder = lab.train(specs[trained])
    assert len(values_of(folder, "reward")) == (1 if objective == "ppo" else 2)  # PPO learns twice from one round
    assert of_kind(folder, Started)[0].train_examples == 24
    assert values_of(folder, "tokens_per_second")


def test_answers_are_rewarded_for_being_the_datas(lab, monkeypatch):
    """The rule sees the text that was written and the answer of that very row."""
    seen = []
    from studio.methods.rewards import Answer

    monkeypatch.setattr(Answer, "score", lambda self, completion, answer: seen.append(answer) or 0.5)
    options = {"reward_answer": "equals", "max_completion_length": 4}
    folder = lab.train(spec_of(lab, "grpo", dataset=lab.instructions, options=options, max_steps=1))
    assert values_of(folder, "reward") == [0.5]
    assert len(set(seen)) == 1  # four answers to one prompt
    assert seen[0].startswith("the lamp is lit and tea")


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("dpo", {}),
        ("kto", {}),
        ("grpo", {"reward_json": True, "num_generations": 2, "num_iterations": 2, "max_completion_length": 4}),
        ("rloo", {"reward_json": True, "num_generations": 2, "max_completion_length": 4}),
        ("ppo", {"reward_json": True, "num_ppo_epochs": 2, "num_mini_batches": 2, "max_completion_length": 4}),
    ],
)
def test_the_plan_counts_the_steps_that_the_trainer_makes(lab, liked, objective, options):
    data = {"dpo": lab.preferences, "kto": liked}.get(objective, lab.instructions)
    same = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 0.6}
    spec = spec_of(lab, objective, dataset=data, options=options, **same)
    [started] = of_kind(lab.train(spec), Started)
    assert planned_steps(spec, started.train_examples) == started.max_steps
