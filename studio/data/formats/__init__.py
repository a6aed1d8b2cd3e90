"""How files spell their rows. One file a format; FORMATS is asked in order, the most specific first."""

from studio.data.formats.alpaca import ALPACA
from studio.data.formats.contract import DatasetFormat, ExampleReader
from studio.data.formats.dolly import DOLLY
from studio.data.formats.flan import FLAN
from studio.data.formats.messages import MESSAGES
from studio.data.formats.preference import PREFERENCE
from studio.data.formats.prompt_completion import PROMPT_COMPLETION
from studio.data.formats.question_answer import QUESTION_ANSWER
from studio.data.formats.sharegpt import SHAREGPT
from studio.data.formats.text import TEXT
from studio.data.formats.ultrachat import ULTRACHAT
from studio.data.formats.unpaired_preference import UNPAIRED_PREFERENCE

FORMATS: dict[str, DatasetFormat] = {
    "preference": PREFERENCE,
    "unpaired_preference": UNPAIRED_PREFERENCE,
    "messages": MESSAGES,
    "sharegpt": SHAREGPT,
    "alpaca": ALPACA,
    "dolly": DOLLY,
    "prompt_completion": PROMPT_COMPLETION,
    "question_answer": QUESTION_ANSWER,
    "flan": FLAN,
    "text": TEXT,
    "ultrachat": ULTRACHAT,
}

__all__ = ["FORMATS", "DatasetFormat", "ExampleReader"]
