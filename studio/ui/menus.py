"""Choices that several tabs offer: data sets and base models."""

import gradio as gr

from studio.base_models import STARTER
from studio.jobs.studio import Studio


def dataset_choice(studio: Studio, chosen: str | None) -> gr.Dropdown:
    """The menu of data sets with one chosen: the one asked for, else the newest."""
    records = studio.datasets()
    choices = [(f"{record.name} · {record.rows:,}", record.id) for record in records]
    ids = [record.id for record in records]
    value = chosen if chosen in ids else (ids[0] if ids else None)
    return gr.Dropdown(choices=choices, value=value)


def base_model_choices(studio: Studio) -> list[tuple[str, str]]:
    """The starter model, and what earlier jobs used."""
    used = dict.fromkeys(view.spec.base_model for view in studio.store.views())
    return [(STARTER, "starter"), *((name, name) for name in used if name not in ("starter", STARTER))]
