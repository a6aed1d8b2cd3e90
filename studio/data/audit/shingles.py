"""Many texts at once → short signatures whose agreement tells how much text two of them share (MinHash)."""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int32]

SLOTS = 64  # numbers in a signature; the estimate of a share is then about 5 points off at most times
EMPTY = np.uint32(0xFFFFFFFF)
SHORT, LONG = 3, 5  # characters in a piece: three of Chinese, Japanese or Korean, else five
FACTOR, OFFSET = np.uint32(0x9E3779B1), np.uint32(0x165667B1)  # xxHash's
BOILERPLATE_BITS = 20
BOILERPLATE_SHARE, BOILERPLATE_FEWEST = 0.3, 10


def bare(texts: list[str]) -> tuple[Codes, Rows]:
    """(code points, for each the position of its text) of texts without case, whitespace and punctuation.

    A sign between two digits stays: 3.5 is not 35. So does every symbol that means something, as + and <.
    """
    joined = "\n".join(texts) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), [len(text) + 1 for text in texts])
    fold, is_sign, is_digit = _tables()
    plain = np.minimum(codes, 0xFFFF)
    folded = fold[plain]
    beyond = codes > 0xFFFF
    folded[beyond] = codes[beyond]
    signs = np.flatnonzero(is_sign[plain])  # never the last character, which is a line's end
    signs = signs[~(is_digit[plain[signs - 1]] & is_digit[plain[signs + 1]])]
    folded[signs] = 0
    kept = folded != 0
    return folded[kept], rows[kept]


def pieces_of(codes: Codes, rows: Rows) -> tuple[Codes, Rows]:
    """(hash, text) of every run of SHORT or LONG characters that lies within one text."""
    count = len(codes)
    ahead = _mixed(np.concatenate([codes, np.zeros(LONG, np.uint32)]) + OFFSET)
    within = np.concatenate([rows, np.full(LONG, -1, np.int32)])
    short = _run(ahead, count, SHORT)
    long = _run(ahead, count, LONG)
    eastern = ((codes >= 0x2E80) & (codes < 0xA000)) | ((codes >= 0xAC00) & (codes < 0xD7B0)) | (codes >= 0x20000)
    last = np.where(eastern, within[SHORT - 1 : count + SHORT - 1], within[LONG - 1 : count + LONG - 1])
    inside = last == rows
    return _mixed(np.where(eastern, short, long)[inside]), rows[inside]


def signatures_of(pieces: Codes, rows: Rows, count: int) -> Codes:
    """(count, SLOTS): in each slot the least of the hashes that fall into it, EMPTY where none does."""
    signatures = np.full(count * SLOTS, EMPTY, np.uint32)
    np.minimum.at(signatures, rows * SLOTS + (pieces >> np.uint32(26)), pieces)
    return signatures.reshape(count, SLOTS)


def agreement(ones: Codes, others: Codes) -> npt.NDArray[np.float64]:
    """The estimated share of pieces in common, pair by pair."""
    there, also = ones != EMPTY, others != EMPTY
    same = np.count_nonzero((ones == others) & there, axis=1)
    return np.asarray(same / np.maximum(np.count_nonzero(there | also, axis=1), 1))


def filled(signatures: Codes) -> Codes:
    """The signatures with every empty slot filled from the next one that is not, so that bands can be compared."""
    result = signatures.copy()
    for _ in range(SLOTS - 1):
        empty = result == EMPTY
        if not empty.any():
            break
        result[empty] = np.roll(result, -1, axis=1)[empty]
    return result


class Boilerplate:
    """Pieces that stand in many texts (a fixed instruction, common words): they make no two texts alike."""

    def __init__(self, pieces: Codes, rows: Rows, count: int) -> None:
        """Learn them from the first `count` texts."""
        size = 1 << BOILERPLATE_BITS
        of_row = np.sort((rows.astype(np.int64) << BOILERPLATE_BITS) | (pieces & np.uint32(size - 1)))
        once = of_row[np.append(True, of_row[1:] != of_row[:-1])[: len(of_row)]]
        counts = np.bincount(once & (size - 1), minlength=size)
        self._common = counts > max(BOILERPLATE_FEWEST, BOILERPLATE_SHARE * count)

    def without(self, pieces: Codes, rows: Rows) -> tuple[Codes, Rows]:
        """The pieces that are not common."""
        rare = ~self._common[pieces & np.uint32((1 << BOILERPLATE_BITS) - 1)]
        return pieces[rare], rows[rare]


def _run(hashes: Codes, count: int, length: int) -> Codes:
    """One hash for each run of `length` characters that begins at one of the first `count`."""
    result = hashes[:count] * FACTOR
    for k in range(1, length):
        result ^= hashes[k : count + k]
        result *= FACTOR
    return _mixed(result)


def _mixed(hashes: Codes) -> Codes:
    """Each number with its bits well mixed (the finish of MurmurHash3)."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


@cache
def _tables() -> tuple[Codes, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For each of the first 65,536 characters: its lower case (0: not kept), is it punctuation, is it a digit."""
    fold = np.zeros(0x10000, np.uint32)
    is_sign, is_digit = np.zeros(0x10000, np.bool_), np.zeros(0x10000, np.bool_)
    for code in range(0x10000):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] not in "ZC":
            fold[code] = ord(character.lower()[0])
        is_sign[code] = category[0] == "P" and character not in "#%&*/@\\-"
        is_digit[code] = character.isdigit()
    return fold, is_sign, is_digit
