"""The layout of the prompt list: prompts typed or from a file, asked of every column's model, in a table."""

from dataclasses import dataclass

import gradio as gr

from studio.ui.i18n import word
from studio.ui.widgets import widget


@dataclass(frozen=True)
class PromptList:
    """The parts that events touch."""

    prompts: gr.Textbox
    file: gr.UploadButton
    run: gr.Button
    table: gr.HTML


def build_prompts() -> PromptList:
    """Layout."""
    with gr.Column(elem_classes="st-form"):
        prompts = gr.Textbox(
            label=word("play_prompts"),
            info=word("play_prompts_info"),
            lines=5,
            max_lines=14,
            interactive=True,
            elem_id="prompt-list",
        )
        with gr.Row(elem_classes="st-play-actions"):
            run = gr.Button(
                word("play_run"), variant="primary", size="sm", scale=0, min_width=160, elem_id="run-prompts"
            )
            file = gr.UploadButton(
                word("play_file"),
                file_types=[".txt", ".jsonl", ".md"],
                size="sm",
                scale=0,
                min_width=160,
                elem_id="prompt-file",
            )
    table = widget("promptTable", elem_id="prompt-table", value={})
    return PromptList(prompts, file, run, table)
