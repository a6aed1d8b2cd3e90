"""The page: a sidebar with the jobs and the machine, the tabs beside it."""

import gradio as gr

from studio.jobs.studio import Studio
from studio.ui.data_room import DataRoom
from studio.ui.i18n import word
from studio.ui.tabs import adapters, data, jobs, memory, playground, train
from studio.ui.widgets import widget


def build_blocks(studio: Studio, room: DataRoom) -> gr.Blocks:
    """Layout first, then wiring; every handler is a plain function of its tab."""
    with gr.Blocks(
        title="Fine-tuning Studio", fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)
    ) as blocks:
        with gr.Sidebar(width=288, elem_id="side", label=""):
            widget("brand", elem_id="brand")
            new_job = gr.Button(word("new_job"), variant="primary", elem_id="new-job")
            widget("jobList", elem_id="job-list")
            widget("machine", elem_id="machine")
        with gr.Tabs(elem_id="tabs", selected="data", overflow_behavior="menu") as tabs:
            with gr.Tab(word("tab_data"), id="data", elem_id="tab-data"):
                data_tab = data.build(studio)
            with gr.Tab(word("tab_train"), id="train", elem_id="tab-train") as train_page:
                train_tab = train.build(studio)
            with gr.Tab(word("tab_memory"), id="memory", elem_id="tab-memory"):
                memory.build()
            with gr.Tab(word("tab_jobs"), id="jobs", elem_id="tab-jobs"):
                jobs.build()
            with gr.Tab(word("tab_adapters"), id="adapters", elem_id="tab-adapters"):
                adapters.build(studio)
            with gr.Tab(word("tab_playground"), id="playground", elem_id="tab-playground") as play_page:
                play_tab = playground.build(studio)
        data.wire(room, data_tab, blocks, tabs, train_tab)
        train.wire(studio, train_tab, blocks, train_page, tabs)
        playground.wire(studio, play_tab, blocks, play_page)
        new_job.click(lambda: gr.Tabs(selected="train"), None, tabs, show_progress="hidden", api_visibility="private")
    return blocks
