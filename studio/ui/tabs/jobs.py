"""Jobs: progress, charts, log, stop and resume. Everything here is fed by the poller, nothing by Gradio events."""

from studio.ui.widgets import widget


def build() -> None:
    """Layout: the widgets know from the address which job they show."""
    widget("jobHead", elem_id="job-head")
    widget("sweep", elem_id="sweep")
    widget("jobMemory", elem_id="job-memory")
    widget("charts", elem_id="charts")
    widget("jobCode", elem_id="job-code")
    widget("log", elem_id="job-log")
