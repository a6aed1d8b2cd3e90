"""How base models are held for chats, as the Playground shows it: one choice for everybody on this studio."""

import threading
from typing import Any

import gradio as gr

from studio.jobs.chat_weights import ChatWeights
from studio.jobs.studio import Studio
from studio.ui.i18n import say


class WeightsHandlers:
    """What happens on the events of the menu."""

    def __init__(self, studio: Studio) -> None:
        self._weights, self._lock = ChatWeights(studio.workspace), threading.Lock()

    def shown(self) -> dict[str, Any]:
        """The page or the tab opens → what is chosen, perhaps by somebody else."""
        update: dict[str, Any] = gr.update(value=self._weights.read())
        return update

    def choose(self, value: Any, request: gr.Request) -> None:
        """Another way is chosen. Raises UserError when it is none."""
        with self._lock:  # a menu tells of one choice twice
            before = self._weights.read()
            if self._weights.choose(value) != before:
                gr.Info(say("play_weights_kept", request), title="", duration=6)
