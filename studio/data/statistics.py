"""Figures about a data set that need no tokenizer."""

from statistics import median

from studio.data.examples import Example, Message


class TextStatistics:
    """Collects lengths (in characters) and turns while examples stream by."""

    def __init__(self) -> None:
        self._asked: list[int] = []
        self._answered: list[int] = []
        self._turns: list[int] = []

    def add(self, example: Example) -> None:
        asked, answered = _split(example)
        self._asked.append(sum(len(message["content"]) for message in asked))
        self._answered.append(sum(len(message["content"]) for message in answered))
        self._turns.append(len(asked) + len(answered))

    def to_dict(self) -> dict[str, int]:
        """Medians and maxima; what is learned is called the answer."""
        if not self._turns:
            return {}
        return {
            "prompt_characters_median": int(median(self._asked)),
            "answer_characters_median": int(median(self._answered)),
            "answer_characters_max": max(self._answered),
            "turns_max": max(self._turns),
        }


def _split(example: Example) -> tuple[list[Message], list[Message]]:
    if "text" in example:
        return [], [{"role": "assistant", "content": example["text"]}]
    if "messages" in example:
        messages = example["messages"]
        return (
            [message for message in messages if message["role"] != "assistant"],
            [message for message in messages if message["role"] == "assistant"],
        )
    if "chosen" in example:
        return example["prompt"], example["chosen"]
    return example["prompt"], example["completion"]
