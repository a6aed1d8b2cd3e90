"""Whether each way of alignment learns from real pairs: marks of held-out pairs, margins, rewards, before and after."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.forgetting import make_reference
from benchmarks.scratch import scratch_studio
from benchmarks.worker import run_worker
from studio import workspace as names
from studio.jobs.events import Metrics, read_events
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import SAMPLES, Studio

PAIRS = SAMPLES / "plain-answers.jsonl"
LENGTH = 256  # tokens: many real answers are longer, and what is left of them still differs
# A pair is read whole or not at all, and what few pairs tell is blurred: more of them are held out.
WHOLE = {"max_length": 768, "eval_share": 0.4, "learning_rate": 3e-4}
WRITTEN = {"max_completion_length": 48, "reward_words": 20}  # rewarded by a rule: answers of about twenty words


@dataclass(frozen=True)
class Way:
    """A preset, what is changed in it, the metric that should rise above `goal` (None: above where it began), its unit.

    `turns`: how many times the benchmark's steps it takes; `evaluations`: looks at held-out rows.
    """

    preset: str
    metric: str
    unit: str
    goal: float | None = None
    objective: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    turns: float = 1.0
    evaluations: int = 1


WAYS: dict[str, Way] = {
    "reward model, held-out pairs": Way(
        "reward_model", "eval_accuracy", "share ranked right", goal=0.5, changes=WHOLE, turns=3.0
    ),
    "DPO, held-out pairs": Way(
        "dpo", "eval_rewards/margins", "margin", goal=0.0, changes={"max_length": 512, "learning_rate": 2e-4}, turns=2.0
    ),
    "ORPO, held-out pairs": Way(
        "orpo", "eval_rewards/margins", "margin", changes={"learning_rate": 2e-4}, evaluations=2
    ),
    "KTO, training batches": Way("kto", "rewards/margins", "margin", changes={"learning_rate": 1e-4}, evaluations=0),
    "GRPO": Way("grpo", "reward", "reward", objective={**WRITTEN, "reward_answer": "off"}, evaluations=0),
    "PPO": Way("ppo", "reward", "reward", objective={**WRITTEN, "num_ppo_epochs": 2}, evaluations=0),
}


def measure(options: Options) -> list[Figure]:
    """One training a way; the value is the mean of the metric's last quarter."""
    with scratch_studio(options.models) as studio:
        pairs = make_reference(studio, options.pairs or PAIRS)
        return [_figure(studio, name, way, pairs, options.steps) for name, way in WAYS.items()]


def _figure(studio: Studio, name: str, way: Way, pairs: dict[str, str], steps: int) -> Figure:
    values = read_presets()[way.preset].values(pairs)
    wanted = round(way.turns * steps)
    fixed = {
        "eval_share": 0.2 if way.evaluations else 0.0,
        "eval_steps": max(1, wanted // max(1, way.evaluations)),
        "save_steps": 1_000_000,
        "max_length": LENGTH,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_steps": wanted,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 2,
        "objective": {**values["objective"], **way.objective},
    }
    folder = studio.workspace.job(studio.store.create(build_spec({**values, **fixed, **way.changes})))
    run = run_worker(folder, threads=1)
    told = [event.values for event in read_events(folder / names.EVENTS) if isinstance(event, Metrics)]
    seen = [values[way.metric] for values in told if way.metric in values]
    quarter = max(1, len(seen) // 4)
    first, last = sum(seen[:quarter]) / quarter, sum(seen[-quarter:]) / quarter
    note = f"began with {first:.3f}; {wanted} steps in {run.cpu_seconds / 60:.1f} CPU-minutes"
    goal = first if way.goal is None else way.goal
    return Figure(name=name, value=last, unit=way.unit, goal=goal, more_is_better=True, note=note)


ALIGNMENT = Benchmark(name="alignment", title="What alignment learns from pairs", measure=measure, on_demand=True)
