"""The script that a text is written in, as a guess at its language."""

import numpy as np
import numpy.typing as npt

# First and last code point of each script's letters; a later line wins where two overlap.
RANGES: tuple[tuple[str, int, int], ...] = (
    ("latin", 0x41, 0x5A),
    ("latin", 0x61, 0x7A),
    ("latin", 0xC0, 0x24F),
    ("latin", 0x1E00, 0x1EFF),
    ("latin", 0xFF21, 0xFF5A),
    ("greek", 0x370, 0x3FF),
    ("cyrillic", 0x400, 0x52F),
    ("armenian", 0x530, 0x58F),
    ("hebrew", 0x590, 0x5FF),
    ("arabic", 0x600, 0x6FF),
    ("arabic", 0x750, 0x77F),
    ("arabic", 0xFB50, 0xFDFF),
    ("arabic", 0xFE70, 0xFEFC),
    ("devanagari", 0x900, 0x97F),
    ("bengali", 0x980, 0x9FF),
    ("tamil", 0xB80, 0xBFF),
    ("telugu", 0xC00, 0xC7F),
    ("thai", 0xE00, 0xE7F),
    ("georgian", 0x10A0, 0x10FF),
    ("korean", 0x1100, 0x11FF),
    ("korean", 0x3130, 0x318F),
    ("korean", 0xAC00, 0xD7AF),
    ("japanese", 0x3041, 0x30FA),
    ("japanese", 0x30FC, 0x30FF),
    ("japanese", 0xFF66, 0xFF9D),
    ("chinese", 0x3400, 0x4DBF),
    ("chinese", 0x4E00, 0x9FFF),
    ("chinese", 0xF900, 0xFAFF),
)
NAMES = ("none", *dict.fromkeys(name for name, _, _ in RANGES))
CHINESE, JAPANESE = NAMES.index("chinese"), NAMES.index("japanese")
CHARACTERS_LOOKED_AT = 20_000


def _table() -> npt.NDArray[np.uint8]:
    table = np.zeros(0x10000, np.uint8)
    for name, first, last in RANGES:
        table[first : last + 1] = NAMES.index(name)
    return table


TABLE = _table()
# A Chinese or Korean character says about as much as three letters.
WEIGHTS = np.array([0] + [3 if name in ("chinese", "japanese", "korean") else 1 for name in NAMES[1:]])


def script_of(text: str) -> str:
    """The script of most of a text, one of NAMES; code between ``` does not count. "none": it has no letters.

    Chinese characters beside kana are Japanese. Of a very long text only the first characters are looked at.
    """
    text = text[:CHARACTERS_LOOKED_AT]
    if "```" in text:
        text = " ".join(text.split("```")[::2])
    if text.isascii():
        return "latin" if text.upper() != text.lower() else "none"
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(TABLE[np.minimum(codes, 0xFFFF)], minlength=len(NAMES))
    counts[CHINESE] += int(np.count_nonzero((codes >= 0x20000) & (codes < 0x32000)))
    if counts[JAPANESE] * 10 > counts[CHINESE]:
        counts[JAPANESE] += counts[CHINESE]
        counts[CHINESE] = 0
    weighed = counts * WEIGHTS
    return NAMES[int(weighed.argmax())] if weighed.any() else "none"
