"""Which sequences of UTF-8 bytes occur only in text of certain Unicode scripts: what a vocabulary may be extended with
so that all other text keeps its tokens.

Script names are Unicode's (Scripts.txt), as the regular expressions of `tokenizers` know them: `Cyrillic`, `Thai`.
"""

from functools import cache

from tokenizers import Regex, pre_tokenizers

_SURROGATES = range(0xD800, 0xE000)
_OF_NO_SCRIPT = ("Common", "Inherited", "Cn")  # signs shared by scripts, marks that follow any letter, unassigned


def byte_level_alphabet() -> dict[str, int]:
    """Character → byte, as byte-level tokenizers spell text (GPT-2); the 13 bytes that UTF-8 never has are left out."""
    firsts = [*range(0x800, 0xD800, 0x800), 0xE000, 0xF000, *range(0x10000, 0x110000, 0x10000)]
    text = "".join(map(chr, [*range(0x800), *firsts]))
    ((spelled, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return dict(zip(spelled, text.encode(), strict=True))


class Scripts:
    """The characters of some scripts, and what their bytes give away."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Raises ValueError for a name that is no script."""
        self.characters = _of_scripts(_every_character(0, 0x110000), names)
        self._sharing = cache(self._others_beginning_with)

    def spell(self, word: str) -> bool:
        """Whether a word has characters of these scripts alone, one space before them allowed."""
        letters = word.removeprefix(" ")
        return bool(letters) and self.characters.issuperset(letters)

    def own(self, token: bytes) -> bool:
        """Whether all text that contains these bytes is in these scripts, at least in part.

        So it is when there is at least one whole character of the scripts, or the first bytes of one that no other
        script's characters begin with; beside them, one space at the beginning and continuation bytes that end a
        character. Signs of no script may begin with the same bytes: `sharing` names them.
        """
        whole, beginning = _parts(token)
        if not (whole or beginning) or not self.characters.issuperset(whole):
            return False
        if not beginning:
            return True
        ours, others = self._sharing(beginning)
        return ours and others == _of_scripts("".join(others), _OF_NO_SCRIPT)

    def sharing(self, token: bytes) -> frozenset[str]:
        """Signs of no script whose first bytes end the token: text with them may get other tokens."""
        _, beginning = _parts(token)
        if not beginning:
            return frozenset()
        _, others = self._sharing(beginning)
        return others - _of_scripts("".join(others), ("Cn",))

    def _others_beginning_with(self, first_bytes: bytes) -> tuple[bool, frozenset[str]]:
        """Whether a character of the scripts begins with these bytes, and all others that do."""
        length, missing = _length_of_character(first_bytes[0]), 0
        missing = length - len(first_bytes)
        code = first_bytes[0] & (0x7F >> length)
        for byte in first_bytes[1:]:
            code = code << 6 | byte & 0x3F
        found = frozenset(_every_character(code << 6 * missing, (code + 1) << 6 * missing))
        valid = frozenset(character for character in found if character.encode().startswith(first_bytes))
        return not valid.isdisjoint(self.characters), valid - self.characters


def _parts(token: bytes) -> tuple[str, bytes]:
    """The whole characters of a token, a space before them left out, and the bytes of one that is cut at its end.

    Continuation bytes at the beginning end a character of any script and say nothing.
    """
    rest = token.removeprefix(b" ").lstrip(bytes(range(0x80, 0xC0)))
    try:
        return rest.decode(), b""
    except UnicodeDecodeError as error:
        return rest[: error.start].decode(), rest[error.start :]


def _length_of_character(first_byte: int) -> int:
    return 2 if first_byte < 0xE0 else 3 if first_byte < 0xF0 else 4


def _every_character(start: int, end: int) -> str:
    return "".join(chr(code) for code in range(start, min(end, 0x110000)) if code not in _SURROGATES)


def _of_scripts(characters: str, names: tuple[str, ...]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        try:
            of_script = pre_tokenizers.Split(Regex(rf"\p{{{name}}}+"), behavior="removed", invert=True)
        except Exception as error:  # the binding raises nothing more precise
            raise ValueError(f"{name!r} is no Unicode script; use names such as Cyrillic, Arabic, Han") from error
        for piece, _ in of_script.pre_tokenize_str(characters):
            found.update(piece)
    return frozenset(found)
