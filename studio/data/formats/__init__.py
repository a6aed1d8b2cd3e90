"""How files spell their rows. One file a format; FORMATS is asked in order, the most specific first."""

from studio.data.formats.alpaca import ALPACA
from studio.data.formats.contract import DatasetFormat
from studio.data.formats.messages import MESSAGES
from studio.data.formats.preference import PREFERENCE
from studio.data.formats.prompt_completion import PROMPT_COMPLETION
from studio.data.formats.sharegpt import SHAREGPT
from studio.data.formats.text import TEXT
from studio.data.formats.unpaired_preference import UNPAIRED_PREFERENCE

FORMATS: dict[str, DatasetFormat] = {
    "preference": PREFERENCE,
    "unpaired_preference": UNPAIRED_PREFERENCE,
    "messages": MESSAGES,
    "sharegpt": SHAREGPT,
    "alpaca": ALPACA,
    "prompt_completion": PROMPT_COMPLETION,
    "text": TEXT,
}

__all__ = ["FORMATS", "DatasetFormat"]
