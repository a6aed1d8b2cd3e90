"""Choices that several tabs offer: data sets and base models."""

import gradio as gr

from studio import workspace as names
from studio.adapters.record import ImportedAdapters
from studio.base_models import STARTER
from studio.jobs.chain import candidates
from studio.jobs.studio import Studio


def dataset_choice(studio: Studio, chosen: str | None) -> gr.Dropdown:
    """The menu of data sets with one chosen: the one asked for, else the newest."""
    choices = _datasets(studio)
    ids = [value for _, value in choices]
    return gr.Dropdown(choices=choices, value=chosen if chosen in ids else (ids[0] if ids else None))


def dataset_menu(studio: Studio, shown: str | None) -> gr.Dropdown:
    """The menu of data sets as it is now; what it shows stays, unless there is no such data set.

    It does not send back what is shown: by the time the answer arrives, another one may have been chosen.
    """
    choices = _datasets(studio)
    return gr.Dropdown(choices=choices) if shown in [value for _, value in choices] else dataset_choice(studio, None)


def other_dataset_menu(studio: Studio, shown: str | None, nothing: str) -> gr.Dropdown:
    """The menu of data sets behind a first entry, called `nothing`, that stands for none of them."""
    choices = [(nothing, ""), *_datasets(studio)]
    kept = shown in [value for _, value in choices]
    return gr.Dropdown(choices=choices) if kept else gr.Dropdown(choices=choices, value="")


def job_menu(studio: Studio, key: str, shown: str | None, nothing: str, *, chosen: str | None = None) -> gr.Dropdown:
    """What an option may name, behind a first entry called `nothing`; `chosen` is put into it.

    Finished jobs; to continue from, imported adapters too, and the checkpoint that is named already.
    """
    found = candidates(studio.store, key.rpartition(".")[2])
    choices = [(nothing, ""), *((f"{view.name} · {view.id[-4:]}", view.id) for view in found)]
    if key == "start_from":
        choices += _adapters_to_learn_on(studio, chosen if chosen is not None else shown or "")
    if chosen is None and shown in [value for _, value in choices]:
        return gr.Dropdown(choices=choices)
    return gr.Dropdown(choices=choices, value=chosen or "")


def _adapters_to_learn_on(studio: Studio, named: str) -> list[tuple[str, str]]:
    records = [one for one in ImportedAdapters(studio.workspace).records() if one.tuner == "lora"]
    choices = [(f"{record.name} · {record.id[-4:]}", record.id) for record in records]
    job, at, step = named.partition("@")
    if at and (studio.workspace.adapter_folder(named) / names.MANIFEST).is_file():
        choices.append((f"{studio.store.view(job).name} @ {step} · {job[-4:]}", named))
    return choices


def _datasets(studio: Studio) -> list[tuple[str, str]]:
    """(what the menu says, id), the newest first."""
    return [(f"{record.name} · {record.rows:,}", record.id) for record in studio.datasets()]


def base_model_choices(studio: Studio) -> list[tuple[str, str]]:
    """The starter model, and what earlier jobs used."""
    used = dict.fromkeys(view.spec.base_model for view in studio.store.views())
    return [(STARTER, "starter"), *((name, name) for name in used if name not in ("starter", STARTER))]
