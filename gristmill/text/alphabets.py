"""Which languages an alphabet allows: a second opinion that needs no model and works on a handful of words.

A language fits a text when nearly all letters are of its alphabet, and the letters that its text cannot do without are
there. A text agrees with a language that alone fits, of those listed with the same script; it contradicts a language
that does not fit where another does. Most texts in Latin letters agree with nobody: English fits many alphabets.

The alphabets are the main letters of each language in Unicode's CLDR (https://cldr.unicode.org, exemplar characters),
written down by hand. Every Latin alphabet is given a to z, since names bring the letters a language has not.
Left out: dialects and small languages that share the alphabet of a large one (Bavarian, Egyptian Arabic, Tuvan);
listing them would only silence the large one.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Opinion = Literal["agrees", "contradicts", "silent"]

MIN_LETTERS = 12
"""Letters of one script that an opinion needs."""
MAX_OUTSIDE_SHARE = 0.01
"""Letters outside an alphabet that a text in it has at most; one such letter is always allowed."""
MIN_EXPECTED = 5.0
"""A letter expected this often and not met speaks against a language: were letters independent, one text in
e^5 = 150 would lack it by accident."""


@dataclass(frozen=True)
class Alphabet:
    """The lower-case letters of a language in one script.

    needed: letters without which no text of some length is written. share: of all letters, theirs together: measured
        on lingua's test sentences and rounded down, a low guess for languages not among them (ba, ckb, cv, ky,
        os, ps, tg, tt, ug, uz, yi); 0 where none is needed.
    """

    letters: frozenset[str]
    needed: frozenset[str] = frozenset()
    share: float = 0.0


def check_alphabet(text: str, language: str) -> Opinion:
    """What the letters of a text say about a language, given as a two-letter code."""
    script, letters = _letters(text)
    known = ALPHABETS.get(script)
    if known is None or sum(letters.values()) < MIN_LETTERS:
        return "silent"
    if language not in known:
        return "contradicts" if language in _LISTED else "silent"
    others = (_fits(letters, alphabet) for code, alphabet in known.items() if code != language)
    if _fits(letters, known[language]):
        return "silent" if any(others) else "agrees"
    return "contradicts" if any(others) else "silent"


def rules_out(text: str, language: str) -> bool:
    """Whether a text in another script than Latin has letters that its language has not, and another has.

    Strong enough to overrule a model: these letters are typed by nobody who does not write the language. An é in an
    English text is no such sign.
    """
    script, letters = _letters(text)
    known = ALPHABETS.get(script, {})
    if script == "Latin" or language not in known or sum(letters.values()) < MIN_LETTERS:
        return False
    return not _fits(letters, known[language]) and any(_fits(letters, alphabet) for alphabet in known.values())


def _fits(letters: dict[str, int], alphabet: Alphabet) -> bool:
    total = sum(letters.values())
    outside = sum(count for letter, count in letters.items() if letter not in alphabet.letters)
    if outside > 1 and outside > MAX_OUTSIDE_SHARE * total:
        return False
    return total * alphabet.share < MIN_EXPECTED or any(letter in letters for letter in alphabet.needed)


def _letters(text: str) -> tuple[str, dict[str, int]]:
    """The script most letters belong to, and its letters counted, lower-cased.

    Kana and Han are one script here: Japanese is written in both.
    """
    scripts: dict[str, dict[str, int]] = {}
    # a Counter of the characters takes three times as long
    codes, counts = np.unique(np.frombuffer(text.lower().encode("utf-32-le", "replace"), np.uint32), return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        if script := _script(code):
            scripts.setdefault(script, {})[chr(code)] = count
    if not scripts:
        return "", {}
    return max(scripts.items(), key=lambda item: (sum(item[1].values()), item[0]))


@lru_cache(maxsize=1 << 14)
def _script(code: int) -> str:
    """The script of a letter by its code point; "" for all that is no letter of a script known here."""
    _, end, script = _RANGES[bisect_right(_STARTS, code) - 1]
    return script if code <= end and chr(code) not in "×÷ـ" else ""


# first and last code point of a script's letters (Unicode 16, Blocks.txt; Latin lower-case, without symbols)
_RANGES = [
    (0x0000, 0x0000, ""),
    (0x0061, 0x007A, "Latin"),
    (0x00C0, 0x024F, "Latin"),
    (0x0370, 0x03FF, "Greek"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0531, 0x0587, "Armenian"),
    (0x05D0, 0x05F2, "Hebrew"),
    (0x0620, 0x064A, "Arabic"),
    (0x0671, 0x06D3, "Arabic"),
    (0x06D5, 0x06D5, "Arabic"),
    (0x0900, 0x097F, "Devanagari"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0A00, 0x0A7F, "Gurmukhi"),
    (0x0A80, 0x0AFF, "Gujarati"),
    (0x0B00, 0x0B7F, "Oriya"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0C80, 0x0CFF, "Kannada"),
    (0x0D00, 0x0D7F, "Malayalam"),
    (0x0D80, 0x0DFF, "Sinhala"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x0E80, 0x0EFF, "Lao"),
    (0x1000, 0x109F, "Myanmar"),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1100, 0x11FF, "Hangul"),
    (0x1780, 0x17FF, "Khmer"),
    (0x1E00, 0x1EFF, "Latin"),
    (0x3041, 0x309F, "Han"),
    (0x30A1, 0x30FA, "Han"),
    (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"),
    (0xAC00, 0xD7AF, "Hangul"),
]
_STARTS = [start for start, _, _ in _RANGES]


def _in_script(script: str) -> frozenset[str]:
    return frozenset(chr(code) for start, end, name in _RANGES if name == script for code in range(start, end + 1))


def _alphabet(letters: str, needed: str = "", share: float = 0.0) -> Alphabet:
    return Alphabet(frozenset(letters), frozenset(needed), share)


def _latin(more: str = "") -> Alphabet:
    return _alphabet("abcdefghijklmnopqrstuvwxyz" + more)


_RUSSIAN = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_ARABIC = "ابتثجحخدذرزسشصضطظعغفقلمنهوءآأؤئ"
_KANA = "".join(map(chr, [*range(0x3041, 0x30A0), *range(0x30A1, 0x30FB)]))
_VIETNAMESE = "àáâãèéêìíòóôõùúýăđĩũơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ"

# a language that has a script to itself; its letters are not compared
_ALONE = {
    "Armenian": "hy",
    "Georgian": "ka",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Hangul": "ko",
    "Kannada": "kn",
    "Khmer": "km",
    "Lao": "lo",
    "Malayalam": "ml",
    "Oriya": "or",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
}

ALPHABETS: dict[str, dict[str, Alphabet]] = {
    "Cyrillic": {
        "ba": _alphabet(_RUSSIAN + "әөүғҡңҙҫһ", "әөүғҡңҙҫһ", 0.1),
        "be": _alphabet("абвгдеёжзійклмнопрстуўфхцчшыьэюя", "іў", 0.07),
        "bg": _alphabet("абвгдежзийклмнопрстуфхцчшщъьюяѝ", "ъ", 0.015),
        "cv": _alphabet(_RUSSIAN + "ӑӗҫӳ", "ӑӗҫӳ", 0.1),
        "kk": _alphabet(_RUSSIAN + "әғқңөұүһі", "әғқңөұү", 0.09),
        "ky": _alphabet(_RUSSIAN + "ңөү", "ңөү", 0.05),
        "mk": _alphabet("абвгдѓежзѕијклљмнњопрстќуфхцчџшѐѝ", "ј", 0.015),
        "mn": _alphabet(_RUSSIAN + "өү", "өү", 0.05),
        "os": _alphabet(_RUSSIAN + "ӕ", "ӕ", 0.05),
        "ru": _alphabet(_RUSSIAN, "ыэё", 0.025),
        "sr": _alphabet("абвгдђежзијклљмнњопрстћуфхцчџш", "ј", 0.03),
        "tg": _alphabet("абвгғдеёжзиӣйкқлмнопрстуӯфхҳчҷшъэюя", "ғӣқӯҳҷ", 0.05),
        "tt": _alphabet(_RUSSIAN + "әөүҗңһ", "әөүҗңһ", 0.1),
        "uk": _alphabet("абвгґдеєжзиіїйклмнопрстуфхцчшщьюя", "іїє", 0.07),
        "uz": _alphabet("абвгдеёжзийклмнопрстуфхцчшъьэюяўқғҳ", "ўқғҳ", 0.04),
    },
    "Arabic": {
        "ar": _alphabet(_ARABIC + "كيىةإ", "يةأ", 0.1),
        "ckb": _alphabet("ئابپتجچحخدرڕزژسشعغفڤقکگلڵمنوۆهەیێھ", "ەێۆ", 0.05),
        # ك and ي of Arabic keyboards are common in Persian
        "fa": _alphabet(_ARABIC + "پچژکگیۀكي", "پچگی", 0.1),
        "ps": _alphabet(_ARABIC + "پټچځڅډړږژښکګگڼیۍېيىكة", "ټځڅډړږښګڼۍې", 0.05),
        "ug": _alphabet("ئاەبپتجچخدرزژسشغفقكگڭلمنھوۇۆۈۋېىي", "ەۇېۈ", 0.05),
        "ur": _alphabet(_ARABIC + "پٹچڈڑژکگںہھیےۂۓۃ", "ہھیے", 0.2),
    },
    "Han": {
        "ja": Alphabet(_in_script("Han"), frozenset(_KANA), 0.4),
        "zh": Alphabet(_in_script("Han") - frozenset(_KANA)),
    },
    "Hebrew": {
        "he": _alphabet("אבגדהוזחטיכךלמםנןסעפףצץקרשת"),
        "yi": _alphabet("אבגדהוזחטיכךלמםנןסעפףצץקרשתװױײ", "װײ", 0.05),
    },
    "Latin": {
        "af": _latin("áäéèêëíîïóôöúûü"),
        "az": _latin("çəğıöşü"),
        "bs": _latin("čćđšž"),
        "ca": _latin("àçèéíïòóúü"),
        "cs": _latin("áčďéěíňóřšťúůýž"),
        "cy": _latin("âêîôûŵŷáéíóúäëïöü"),
        "da": _latin("æøåé"),
        "de": _latin("äöüßé"),
        "en": _latin(),
        "eo": _latin("ĉĝĥĵŝŭ"),
        "es": _latin("áéíñóúü"),
        "et": _latin("äõöüšž"),
        "eu": _latin("ñçü"),
        "fi": _latin("äöåšž"),
        "fr": _latin("àâæçéèêëîïôœùûüÿ"),
        "ga": _latin("áéíóú"),
        "gl": _latin("áéíñóúü"),
        "hr": _latin("čćđšž"),
        "hu": _latin("áéíóöőúüű"),
        "id": _latin("é"),
        "is": _latin("áðéíóúýþæö"),
        "it": _latin("àèéìíîòóùú"),
        "la": _latin("āēīōūæœ"),
        "lb": _latin("äéëöüçèê"),
        "lt": _latin("ąčęėįšųūž"),
        "lv": _latin("āčēģīķļņšūž"),
        "ms": _latin("é"),
        "mt": _latin("ċġħżàèìòù"),
        "nl": _latin("áéëíïóöúüè"),
        "nn": _latin("æøåéèêóòôà"),
        "no": _latin("æøåéèêóòôà"),
        "pl": _latin("ąćęłńóśźż"),
        "pt": _latin("áâãàçéêíóôõúü"),
        "ro": _latin("ăâîșțşţ"),
        "sh": _latin("čćđšž"),
        "sk": _latin("áäčďéíĺľňóôŕšťúýž"),
        "sl": _latin("čšžćđ"),
        "so": _latin(),
        "sq": _latin("çë"),
        "sr": _latin("čćđšž"),
        "sv": _latin("åäöéà"),
        "sw": _latin(),
        "tk": _latin("çäňöşüýž"),
        "tl": _latin("ñáéíóúàèìòùâêîôû"),
        "tr": _latin("çğıöşüâîû"),
        "vi": _latin(_VIETNAMESE),
        "yo": _latin("ẹọṣàáèéìíòóùúǹńḿ"),
    },
    **{script: {code: Alphabet(_in_script(script))} for script, code in _ALONE.items()},
}
RULED_BY_LETTERS = frozenset({*ALPHABETS["Cyrillic"], *ALPHABETS["Arabic"]})
"""Languages that `rules_out` can speak about."""
_LISTED = frozenset(code for alphabets in ALPHABETS.values() for code in alphabets)
