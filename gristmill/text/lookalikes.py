"""Letters that look alike in Latin and Cyrillic, put right within a word.

People type a Latin i for the Ukrainian і, and spam hides in such letters. A model of character n-grams takes
"Киiв" for a word of no language; three in twenty Ukrainian sentences are lost that way. Only what is looked at is
repaired, never a document's text.
"""

import re
from functools import partial

_CYRILLIC = "\u0400-\u052f"
_LATIN = "A-Za-zÀ-ÖØ-öø-ÿƏə"

# by shape; Kazakh and Tatar letters have their own twins (Unicode's confusables.txt lists more, of other scripts)
_TWINS = dict(zip("ABCEHIKMOPTXYaceikopxyhjÏËïëƏə", "АВСЕНІКМОРТХУасеікорхуһјЇЁїёӘә", strict=True))
_TO_CYRILLIC = str.maketrans(_TWINS)
_TO_LATIN = str.maketrans({cyrillic: latin for latin, cyrillic in _TWINS.items()})

_ANY_CYRILLIC = re.compile(rf"[{_CYRILLIC}]")
_ANY_LETTER = re.compile(rf"[{_LATIN}{_CYRILLIC}]")
# each of these begins with a Latin letter, of which Cyrillic text has few
_MIXED = re.compile(rf"[{_LATIN}](?:(?=[{_CYRILLIC}])|(?<=[{_CYRILLIC}].))")
_MIXED_WORD = re.compile(
    rf"[{_LATIN}]+[{_CYRILLIC}][{_LATIN}{_CYRILLIC}]*|[{_CYRILLIC}]+[{_LATIN}][{_LATIN}{_CYRILLIC}]*"
)
# a word of one letter between Cyrillic words: the Ukrainian "і", the Russian "о"
_ALONE = re.compile(rf"[{''.join(_TWINS)}](?:(?<=[{_CYRILLIC}] .)|(?<=[{_CYRILLIC}][,.;:!?)»] .))(?= [{_CYRILLIC}])")


def repair_lookalikes(text: str) -> str:
    """Words of both scripts written in one, where all letters of the other have a twin; other words as they are.

    Where both are possible, the script that most of the text is in wins. Words are separated by single blanks.
    """
    if text.isascii() or not _ANY_CYRILLIC.search(text):
        return text
    if _MIXED.search(text):
        cyrillic = 2 * len(_ANY_CYRILLIC.findall(text)) >= len(_ANY_LETTER.findall(text))
        text = _MIXED_WORD.sub(partial(_in_one_script, prefer_cyrillic=cyrillic), text)
    return _ALONE.sub(lambda match: match[0].translate(_TO_CYRILLIC), text)


def _in_one_script(match: re.Match[str], *, prefer_cyrillic: bool) -> str:
    word = match[0]
    cyrillic, latin = word.translate(_TO_CYRILLIC), word.translate(_TO_LATIN)
    to_cyrillic, to_latin = all(map(_is_cyrillic, cyrillic)), not any(map(_is_cyrillic, latin))
    if to_cyrillic and (prefer_cyrillic or not to_latin):
        return cyrillic
    return latin if to_latin else word


def _is_cyrillic(letter: str) -> bool:
    return "\u0400" <= letter <= "\u052f"
