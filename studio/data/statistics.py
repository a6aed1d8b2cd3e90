"""Figures about a data set that need no tokenizer."""

from array import array

import numpy as np

from studio.data.audit.reading import all_messages, learned_turns
from studio.data.examples import Example, Message


class TextStatistics:
    """Collects lengths (in characters) and turns while examples stream by, twelve bytes each."""

    def __init__(self) -> None:
        self._asked, self._answered, self._turns = array("I"), array("I"), array("I")
        self._with_system = self._with_tools = 0

    def add(self, example: Example) -> None:
        """Count one example; what is learned is called the answer, of a pair the chosen one."""
        if "text" in example:
            self._note(0, len(example["text"]), 1)
            return
        if "completion" in example and len(example["prompt"]) == len(example["completion"]) == 1:  # by far most rows
            asked, answered = example["prompt"][0], example["completion"][0]
            self._note(len(asked["content"]), len(answered["content"]), 2)
            self._with_system += asked["role"] == "system"
            self._with_tools += "tool_calls" in answered
            return
        messages = all_messages(example)
        if "messages" in example:
            learned = learned_turns(messages)
            characters = _length(messages) - _length(learned)
        else:
            learned = example["chosen"] if "chosen" in example else example["completion"]
            characters = _length(example["prompt"])
        turns = len(messages) - (len(example["rejected"]) if "rejected" in example else 0)
        self._note(characters, _length(learned), turns)
        self._with_system += messages[0]["role"] == "system"
        self._with_tools += any("tool_calls" in message for message in messages)

    def to_dict(self) -> dict[str, int]:
        """Medians, ninety-ninth percentiles and maxima; counts of rows with a system message, with calls of tools."""
        if not self._turns:
            return {}
        asked, answered, turns = (np.frombuffer(one, np.uint32) for one in (self._asked, self._answered, self._turns))
        return {
            "prompt_characters_median": int(np.median(asked)),
            "prompt_characters_max": int(asked.max()),
            "answer_characters_median": int(np.median(answered)),
            "answer_characters_p99": int(np.quantile(answered, 0.99, method="inverted_cdf")),
            "answer_characters_max": int(answered.max()),
            "characters": int(asked.sum(dtype=np.uint64) + answered.sum(dtype=np.uint64)),
            "turns_median": int(np.median(turns)),
            "turns_max": int(turns.max()),
            "rows_with_system": self._with_system,
            "rows_with_tools": self._with_tools,
        }

    def _note(self, asked: int, answered: int, turns: int) -> None:
        self._asked.append(asked)
        self._answered.append(answered)
        self._turns.append(turns)


def _length(messages: list[Message]) -> int:
    return sum(len(message["content"]) for message in messages)
