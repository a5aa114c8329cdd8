"""Which bytes give a script away, against Unicode's own table as fontTools has it."""

from collections import defaultdict

import pytest
from fontTools.unicodedata import script

from gristmill.tokens.scripts import Scripts, byte_level_alphabet

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
SHORT = CHARACTERS[: 0x10000 - 0x800]  # three bytes at most


@pytest.fixture(scope="module")
def cyrillic() -> Scripts:
    return Scripts(("Cyrillic",))


def test_the_alphabet_spells_every_byte_of_utf8_like_gpt2():
    alphabet = byte_level_alphabet()
    assert sorted(alphabet.values()) == [byte for byte in range(256) if byte not in {0xC0, 0xC1, *range(0xF5, 0x100)}]
    assert len(set(alphabet.values())) == len(alphabet) == 243
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["a"], alphabet["Ð"], alphabet["ĸ"]) == (0x20, 0x0A, 0x61, 0xD0, 0x96)


def test_the_characters_are_those_of_unicodes_table(cyrillic):
    assert cyrillic.characters == {character for character in CHARACTERS if script(character) == "Cyrl"}


@pytest.mark.parametrize(
    ("token", "own"),
    [
        ("слово".encode(), True),
        (" слово".encode(), True),
        (b"\xd0", True),  # U+0400 to U+043F
        (b" \xd1", True),
        (b"\x96\xd0", True),  # the end of any letter, the beginning of a Cyrillic one
        ("лю".encode() + b"\xd1", True),
        (b"\xd4", False),  # Armenian begins with it too
        (b"\x96", False),
        (b"\x96" + "я".encode(), True),
        (b" ", False),
        ("  слово".encode(), False),
        ("слово ".encode(), False),
        ("слово.".encode(), False),
        (b"word", False),
        ("кaва".encode(), False),  # with a Latin a
    ],
)
def test_a_token_is_owned_when_its_bytes_occur_in_these_scripts_alone(cyrillic, token: bytes, own: bool):
    assert cyrillic.own(token) is own


@pytest.mark.parametrize("name", ["Cyrillic", "Thai", "Georgian", "Devanagari"])
def test_owned_first_bytes_are_those_no_other_script_begins_with(name: str):
    scripts = Scripts((name,))
    code = next(script(character) for character in scripts.characters)
    beginning_with = defaultdict(set)
    for character in SHORT:
        for end in range(1, len(character.encode())):
            beginning_with[character.encode()[:end]].add(character)
    found = [first for first, characters in beginning_with.items() if not scripts.characters.isdisjoint(characters)]
    assert len(found) > 2
    for first in found:
        others = {character for character in beginning_with[first] if script(character) != code}
        assert scripts.own(first) == all(script(character) in ("Zyyy", "Zinh", "Zzzz") for character in others)
        if scripts.own(first):
            assert scripts.sharing(first) == {character for character in others if script(character) != "Zzzz"}


def test_signs_that_share_first_bytes_are_named():
    assert Scripts(("Thai",)).sharing("ก".encode()[:2]) == {"฿"}


def test_words_of_the_scripts_may_begin_with_one_space(cyrillic):
    assert [cyrillic.spell(word) for word in ("кава", " кава", "  кава", "кава1", " ", "", "кaва")] == [
        *(True, True, False, False, False, False, False)
    ]


def test_a_name_that_is_no_script_is_refused():
    with pytest.raises(ValueError, match="'Cyrilic' is no Unicode script; use names such as Cyrillic"):
        Scripts(("Cyrilic",))
