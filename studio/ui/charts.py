"""Live charts: figures to draw once, and the points that came since."""

from typing import Any

from studio.jobs.state import JobState
from studio.methods.objectives import OBJECTIVES, Chart

POINTS_AT_ONCE = 4000  # a browser gets at most so many of each metric when it opens a long job
EXACT = ("learning_rate",)  # has no noise that could be smoothed away
# By metric: the CSS variable of its colour, so that light and dark have their own shade.
COLOURS = {
    "loss": "--st-c1",
    "eval_loss": "--st-c2",
    "learning_rate": "--st-c3",
    "grad_norm": "--st-c4",
    "tokens_per_second": "--st-c5",
    "rewards/chosen": "--st-c1",
    "rewards/rejected": "--st-c4",
    "rewards/margins": "--st-c1",
    "eval_rewards/margins": "--st-c2",
    "rewards/accuracies": "--st-c1",
    "eval_rewards/accuracies": "--st-c2",
    "log_odds_chosen": "--st-c1",
    "log_odds_ratio": "--st-c4",
    "nll_loss": "--st-c1",
    "eval_nll_loss": "--st-c2",
    "kl": "--st-c3",
    "eval_kl": "--st-c2",
    "accuracy": "--st-c1",
    "eval_accuracy": "--st-c2",
    "margin": "--st-c1",
    "eval_margin": "--st-c2",
    "min_reward": "--st-c4",
    "mean_reward": "--st-c1",
    "max_reward": "--st-c3",
    "reward": "--st-c1",
    "eval_reward": "--st-c2",
    "reward_std": "--st-c5",
    "completions/mean_length": "--st-c3",
    "policy_loss": "--st-c1",
    "value_loss": "--st-c4",
    "clip_ratio": "--st-c5",
}


def figures(objective: str) -> list[dict[str, Any]]:
    """The charts of an objective as Plotly figures without points; `meta` says what each line shows."""
    return [{"name": chart.name, "figure": figure(chart)} for chart in OBJECTIVES[objective].charts]


def figure(chart: Chart) -> dict[str, Any]:
    """One empty chart: for each metric a thin line as measured and a bold one smoothed; evaluations have dots."""
    import plotly.graph_objects as go

    traces = []
    for metric in chart.metrics:
        meta = {"metric": metric, "colour": COLOURS[metric]}
        if metric.startswith("eval_"):
            traces.append(go.Scatter(x=[], y=[], mode="lines+markers", meta={**meta, "smooth": False}))
        elif metric in EXACT:
            traces.append(go.Scatter(x=[], y=[], mode="lines", line={"width": 2}, meta={**meta, "smooth": False}))
        else:
            raw = go.Scatter(x=[], y=[], mode="lines", opacity=0.3, line={"width": 1}, showlegend=False)
            traces.append(raw.update(hoverinfo="skip", meta={**meta, "smooth": False, "raw": True}))
            traces.append(go.Scatter(x=[], y=[], mode="lines", line={"width": 2}, meta={**meta, "smooth": True}))
    layout = go.Layout(
        uirevision="kept",
        margin={"l": 52, "r": 14, "t": 6, "b": 42},
        hovermode="x unified",
        showlegend=len(chart.metrics) > 1,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.14},
        xaxis={"zeroline": False, "rangemode": "tozero"},
        yaxis={"zeroline": False, "exponentformat": "e", "nticks": 6, "automargin": True},
    )
    made: dict[str, Any] = go.Figure(traces, layout).to_plotly_json()
    made["layout"].pop("template", None)
    return made


def new_points(state: JobState, since: int) -> list[list[Any]]:
    """[[step, {metric: value}], …] after the first `since`; a long history is thinned on power-of-two strides."""
    fresh = state.points[since:]
    stride = 1
    while len(fresh) // stride > POINTS_AT_ONCE:
        stride *= 2
    last = len(fresh) - 1
    return [
        [step, {name: float(f"{value:.6g}") for name, value in values.items() if name in COLOURS}]
        for index, (step, values) in enumerate(fresh)
        if index % stride == 0 or index == last or "eval_loss" in values
    ]
