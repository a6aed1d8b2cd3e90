"""The script of a job, run without the studio, gives the job's own losses."""

import json
import subprocess
import sys

import pytest

from studio.catalog import Catalog
from studio.jobs.code.bundle import JobCode
from studio.jobs.store import JobStore
from tests.conftest import import_rows, write_rows
from tests.worker.conftest import values_of

pytestmark = pytest.mark.slow
# Without the studio in reach: -P leaves the working folder out, and nothing of it may have been imported at the end.
# What every script does again is done once: a model card's template is compiled, the versions asked for, garbage looked
# for in the libraries.
RUN = """
import functools, gc, jinja2, json, runpy, sys
from importlib import metadata
gc.disable()
import datasets, peft, transformers, trl
gc.freeze()
gc.enable()
jinja2.Environment.compile = functools.lru_cache(64)(jinja2.Environment.compile)
metadata.version, metadata.metadata = functools.cache(metadata.version), functools.cache(metadata.metadata)
for path in sys.argv[1:]:
    runpy.run_path(path)
assert not [name for name in sys.modules if name.split(".")[0] == "studio"]
"""
EXACT = (
    "lora", "dora", "messages", "text", "ia3", "p_tuning_v2", "partial", "lora_plus", "shira", "adalora", "sft_after",
    "bottleneck", "share", "small_share",
)  # fmt: skip
# Full fine-tuning and preference losses take the studio's short way on a CPU: the same arithmetic in another order.
CLOSE = {"full": 1e-6, "dpo": 1e-6, "qlora": 1e-5, "orpo": 1e-5, "kto": 1e-5, "cpo": 1e-5, "reward": 1e-6}
CLOSE |= {"full_after": 1e-6, "dpo_after": 1e-5, "reward_after": 1e-6, "grpo": 1e-4, "rloo": 1e-4}
CLOSE |= {"ewc": 1e-5, "ppo": 1e-4, "judged": 1e-4}
# What these begin with is found in the base's weights: measured to differ in the last bits.
CLOSE |= {"pissa": 1e-5, "olora": 1e-5, "shira_largest": 1e-6}
REWARDS = {
    "reward_words": 5, "reward_contains": "lamp, fog", "reward_format": "(..)*", "reward_answer": "number",
    "reward_json": True, "num_generations": 2, "num_iterations": 2, "max_completion_length": 8,
}  # fmt: skip
SHARES = {"share": 0.5, "small_share": 0.03}  # of three steps: one, and none
REWARDED = ("grpo", "rloo", "judged")


def chat_rows():
    """Conversations: two learned turns, one turn without weight."""
    ask = {"role": "user", "content": "what is tea"}
    say = {"role": "assistant", "content": "tea is good and the lamp is lit"}
    return [{"messages": [ask, say, ask, {**say, "content": f"log {i} is lit"}]} for i in range(12)] + [
        {"messages": [{"role": "system", "content": "be a keeper"}, ask, {**say, "weight": 0}, ask, say]}
    ]


def liked_rows():
    return [
        {"prompt": f"what is {i}", "completion": f"the lamp {i} is lit" if i % 2 else "fog", "label": bool(i % 2)}
        for i in range(24)
    ]


@pytest.fixture(scope="module")
def datasets(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    rows = {
        "chat": chat_rows(),
        "texts": [{"text": f"the sea {i} and the fog"} for i in range(12)],
        "liked": liked_rows(),
        "general": [{"instruction": f"name {i}", "input": "", "output": "gulls and sea"} for i in range(8)],
    }
    made = {name: import_rows(lab.workspace, write_rows(folder / f"{name}.jsonl", some)) for name, some in rows.items()}
    return {**made, "instructions": lab.instructions, "preferences": lab.preferences}


def specs(lab, datasets):
    """{name: spec} of jobs whose script is run."""
    same = {"dtype": "float32", "max_length": 64}
    made = {name: lab.spec(name, **same) for name in ("lora", "dora", "full", "partial", "ia3", "p_tuning_v2", "qlora")}
    made["messages"] = lab.spec("lora", dataset=datasets["chat"], gradient_accumulation_steps=2, **same)
    made["text"] = lab.spec("lora", dataset=datasets["texts"], chat_template="plain", **same)
    for name in ("dpo", "orpo", "cpo", "reward"):
        made[name] = lab.spec("lora", dataset=datasets["preferences"], objective={"name": name}, **same)
    lora = {"name": "lora", "r": 8}
    made["lora_plus"] = lab.spec("lora", tuner={**lora, "loraplus_lr_ratio": 16}, **same)
    for name in ("pissa", "olora"):
        made[name] = lab.spec("lora", tuner={**lora, "init_lora_weights": name}, **same)
    for name in ("shira", "adalora"):
        made[name] = lab.spec("lora", tuner={"name": name}, **same)
    made["shira_largest"] = lab.spec("lora", tuner={"name": "shira", "mask_type": "magnitude"}, **same)
    fast = {"per_device_train_batch_size": 4, "learning_rate": 0.02, "warmup_steps": 0}
    for name in ("grpo", "rloo"):
        made[name] = lab.spec("lora", objective={"name": name, **REWARDS}, **fast, **same)
    ppo = {"name": "ppo", "reward_words": 5, "max_completion_length": 8, "num_ppo_epochs": 2}
    made["ppo"] = lab.spec("lora", objective=ppo, **fast, **same)
    made["bottleneck"] = lab.spec("lora", tuner={"name": "bottleneck"}, **same)
    general = {"general_dataset": datasets["general"], "general_share": 0.0, "ewc_lambda": 1e4, "ewc_rows": 4}
    made["ewc"] = lab.spec("full", learning_rate=1e-3, **general, **same)
    made["kto"] = lab.spec("lora", dataset=datasets["liked"], objective={"name": "kto"}, **same)
    return slowly(made) | {name: lab.spec("lora", warmup_steps=share, **same) for name, share in SHARES.items()}


def slowly(specs):
    """With a first step that moves nothing: Adam's first one makes of a rounding error what it makes of a gradient."""
    return {
        name: spec.model_copy(update={"warmup_steps": 1}) if spec.warmup_steps else spec for name, spec in specs.items()
    }


def later_specs(lab, datasets, before):
    """The same of jobs that continue from one in `before`, {name: job}."""
    same = {"dtype": "float32", "max_length": 64}
    preferences = {"dataset": datasets["preferences"], "start_from": before["lora"], **same}
    rules = {"reward_words": 5, "num_generations": 2, "num_iterations": 2, "max_completion_length": 8}
    judged = {"name": "grpo", "reward_model": before["reward"], **rules}
    fast = {"per_device_train_batch_size": 4, "learning_rate": 0.02, "warmup_steps": 0}
    return slowly(
        {
            "judged": lab.spec("lora", objective=judged, **fast, **same),
            "sft_after": lab.spec("lora", start_from=before["lora"], **same),
            "dpo_after": lab.spec("lora", objective={"name": "dpo"}, **preferences),
            "reward_after": lab.spec("lora", objective={"name": "reward"}, **preferences),
            "full_after": lab.spec("full", start_from=before["full"], **same),
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("code")


@pytest.fixture(scope="module")
def told(lab, datasets, root):
    """{name: (the job's losses, the script's)}"""
    store = JobStore(lab.workspace, Catalog(lab.workspace.catalog))
    losses: dict[str, list[float]] = {}
    jobs: dict[str, str] = {}

    def do(some):
        for name, spec in some.items():
            folder = lab.train(spec)
            losses[name], jobs[name] = values_of(folder, "loss"), folder.name
            JobCode(lab.workspace, store.view(folder.name)).write(root / name)

    do(specs(lab, datasets))
    do(later_specs(lab, datasets, jobs))
    paths = [str(root / name / "train.py") for name in losses]
    command = [sys.executable, "-P", "-c", RUN, *paths]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {name: (own, again) for (name, own), again in zip(losses.items(), printed, strict=True)}


def environment():
    from studio.settings import worker_environment

    given = {**worker_environment(), "OMP_NUM_THREADS": "1"}
    del given["PYTHONPATH"]  # it leads to the studio
    return given


def test_the_script_gives_the_jobs_losses_to_the_last_bit(told):
    for name in EXACT:
        own, again = told[name]
        assert own == again, name
        assert len(own) == 3


def test_what_changes_the_beginning_or_the_pace_changes_the_losses(told):
    plain = told["lora"][0]
    assert all(
        told[name][0] != plain
        for name in ("small_share", "lora_plus", "sft_after", "pissa", "olora", "shira", "adalora")
    )


@pytest.mark.parametrize("name", CLOSE)
def test_where_a_cpu_sums_in_another_order_the_losses_are_as_good_as_equal(told, name):
    own, again = told[name]
    # A reward's loss is zero but for rounding where the answers are as likely as when they were written.
    assert again == pytest.approx(own, rel=CLOSE[name], abs=1e-6 if name in REWARDED else 0)
    assert len(set(own)) > 1
    assert max(abs(loss) for loss in own) > 0.05


def test_what_holds_weights_back_changes_the_losses(told):
    assert told["ewc"][0][1:] != told["full"][0][1:]


def test_the_script_saves_what_it_learned(told, root):
    assert (root / "lora" / "adapter" / "adapter_model.safetensors").is_file()
    assert (root / "full" / "model" / "model.safetensors").is_file()
