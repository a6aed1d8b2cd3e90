"""Adapters: what can be done with them beside talking to them. It lays out the sections in their order."""

from studio.jobs.studio import Studio
from studio.ui.tabs import adapter_import, adapter_inspect, adapter_list, lineage, merging


def build(studio: Studio) -> None:
    """Layout: the sections ask for what they show by themselves."""
    adapter_list.build()
    adapter_import.build(studio)
    adapter_inspect.build()
    merging.build(studio)
    lineage.build()
