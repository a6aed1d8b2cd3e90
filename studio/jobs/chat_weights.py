"""How base models are held for chats, everywhere in one studio: as trained, in 8 bits or in 4."""

import logging
from typing import get_args

from studio.errors import UserError
from studio.jobs.training_options import QuantizationName
from studio.workspace import Workspace, read_json, write_json

CHOICES: tuple[QuantizationName, ...] = get_args(QuantizationName)
AS_TRAINED: QuantizationName = "none"
log = logging.getLogger(__name__)


class ChatWeights:
    """The choice, in a file of the workspace: the page, the command line and the chats' servers read the same one."""

    def __init__(self, workspace: Workspace) -> None:
        self._file = workspace.chat_weights
        self._complained = False

    def read(self) -> QuantizationName:
        """What was chosen; as trained when nothing was, or when the file is damaged, which the log says once."""
        try:
            value = read_json(self._file)
            return AS_TRAINED if value is None else known_quantization(value["quantization"])
        except (OSError, ValueError, TypeError, KeyError, UserError):
            if not self._complained:
                log.warning("%s is damaged: base models are held for chats as they were trained.", self._file)
            self._complained = True
            return AS_TRAINED

    def choose(self, value: object) -> QuantizationName:
        """Keep a choice. Servers that hold their base another way are replaced when nobody is answered by them.

        Raises UserError for a value that is none.
        """
        quantization = known_quantization(value)
        write_json(self._file, {"quantization": quantization})
        return quantization


def known_quantization(value: object) -> QuantizationName:
    """`value` when base models can be held like that. Raises UserError."""
    if not isinstance(value, str) or value not in CHOICES:
        raise UserError(f"Base models cannot be held as {str(value)[:40]!r}.", f"Choose one of: {', '.join(CHOICES)}.")
    return value
