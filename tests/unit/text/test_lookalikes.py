import pytest

from gristmill.text.lookalikes import repair_lookalikes


@pytest.mark.parametrize(
    ("spoilt", "repaired"),
    [
        ("Киiв", "Київ".replace("ї", "і")),
        ("\u004bиїв", "Київ"),  # a Latin capital K
        ("pecпубліка", "республіка"),
        ("місто ХАPKIB", "місто ХАРКІВ"),
        ("жити i працювати", "жити і працювати"),
        ("кажуть, i правда", "кажуть, і правда"),
        ("тəуелсіз", "тәуелсіз"),
        ("pаypаl", "paypal"),
        ("Аpple", "Apple"),
    ],
)
def test_a_word_of_two_scripts_is_written_in_one(spoilt, repaired):
    assert repair_lookalikes(spoilt) == repaired


@pytest.mark.parametrize(
    "text",
    [
        "",
        "only Latin",
        "лише кирилиця",
        "Wi-Fi у кафе",
        "wordслово",
        "файл a.txt",
        "a b c",
        "vitamin Е і D3",
        "日本語 і i",
    ],
)
def test_other_text_is_left_alone(text):
    assert repair_lookalikes(text) == text


def test_a_word_that_could_be_either_is_written_as_most_of_the_text():
    assert repair_lookalikes("вулиця \u0441op") == "вулиця \u0441\u043e\u0440"
    assert repair_lookalikes("the street \u0441op") == "the street cop"
