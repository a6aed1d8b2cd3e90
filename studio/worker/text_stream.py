"""Tokens become text piece by piece: never half a character, and nothing of a text at which the answer should end."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


class TextStream:
    """The text of one answer. `stopped`: one of the texts in `stop` came; it is not part of the answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._tokens: list[int] = []
        # Tokens before `_read` have been told; those from `_context` on are decoded again with the new ones, since
        # some tokenizers write a token otherwise at the beginning of a text.
        self._context = self._read = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """What can be told after one more token."""
        self._tokens.append(token)
        new = self._decode(self._context)
        if new.endswith("\ufffd"):
            return ""  # within a character
        return self._release(self._advance(new), final=False)

    def finish(self) -> str:
        """What was held back."""
        return self._release(self._advance(self._decode(self._context)), final=True)

    def _advance(self, text: str) -> str:
        told = self._tokenizer.decode(self._tokens[self._context : self._read], skip_special_tokens=True)
        self._context, self._read = self._read, len(self._tokens)
        return text[len(told) :]

    def _decode(self, begin: int) -> str:
        return str(self._tokenizer.decode(self._tokens[begin:], skip_special_tokens=True))

    def _release(self, text: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [place for place in (self._held.find(stop) for stop in self._stop) if place >= 0]
        self.stopped = bool(found)
        keep = 0 if final else max((_overlap(self._held, stop) for stop in self._stop), default=0)
        end = min(found) if found else len(self._held) - keep
        told, self._held = self._held[:end], self._held[end:]
        return told


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
