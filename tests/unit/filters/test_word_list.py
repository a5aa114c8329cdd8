import pytest

from gristmill.filters.word_list import WordList


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("An ARSE, two arses.", 1),  # whole words, letters folded
        ("son of a gun; Son  of a\nGun!", 2),  # phrases over any blanks
        ("son of gun", 0),
        ("a$$ and a$$es", 1),  # signs as they stand
        ("класс", 0),
        ("дурачок и дурак", 1),
        ("你他妈的人", 1),  # no blanks in Chinese
        ("self-abuse and self abuse", 2),
        ("", 0),
    ],
)
def test_listed_words_are_counted_as_whole_words(text, listed):
    words = WordList(["arse", "son of a gun", "A$$", "дурак", "他妈", "self-abuse"])
    assert words.count(text)[0] == listed
    assert words.score(text) == float(listed > 0)


def test_all_words_are_counted_beside_the_listed_ones():
    assert WordList(["bad"]).count("bad, good and ugly") == (1, 4)


def test_a_list_is_a_word_a_line(tmp_path):
    (tmp_path / "list").write_text("# a comment\n\nfirst\nsecond word\n", encoding="utf-8")
    assert WordList.load(tmp_path / "list").count("first and second word") == (2, 4)


@pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe\x00", "is not UTF-8"), (b"# only\n\n", "holds no word")])
def test_a_list_that_is_none_is_refused(tmp_path, content, said):
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        WordList.load(tmp_path / "list")
