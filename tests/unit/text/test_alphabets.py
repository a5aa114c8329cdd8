import pytest

from gristmill.text.alphabets import ALPHABETS, check_alphabet, rules_out

# ten words of a language and the opinion of their letters on three
SENTENCES = {
    "uk": "Її щирі сестри їдуть до Києва, щоб купити ґудзики й олівці.",
    "ru": "Это было очень давно, когда мы ещё жили в большом каменном доме у самой реки, рыбы было много, "
    "и мы выходили на берег, чтобы смотреть, как рыбаки вытягивают тяжёлые сети из воды.",
    "be": "Мы жывём у вялікім горадзе, дзе ўсе людзі шчыра любяць сваю родную мову.",
    "kk": "Біз үлкен қалада тұрамыз, бұл жерде әр адам өз тілін жақсы көреді.",
    "mk": "Ѓорѓи и Ќиро живеат во куќа до ѕидот, каде што секој ден џагорат луѓе.",
    "sr": "Ђорђе и Ћира живе у кући поред зида, где сваки дан долазе људи и џезери.",
    "pl": "Zażółć gęślą jaźń, powiedział chłopiec, i poszedł dalej łąką.",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy, řekl děda.",
    "ja": "これは日本語の文章です。今日は天気がいいです。",
    "zh": "今天天气很好我们一起去公园散步然后去吃晚饭再回家看书睡觉明天早上去学校上课",
    "el": "Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_language_agrees_with_its_own_letters_and_with_no_others(language):
    assert check_alphabet(SENTENCES[language], language) == "agrees"
    for other, sentence in SENTENCES.items():
        if other != language:
            assert check_alphabet(sentence, language) == "contradicts"


@pytest.mark.parametrize("text", ["", "1234567890 !?", "short", "Plain letters that fit many languages at once."])
def test_letters_that_many_languages_have_say_nothing(text):
    assert check_alphabet(text, "en") == "silent"


def test_a_language_that_is_not_listed_is_not_spoken_about():
    assert check_alphabet(SENTENCES["ru"], "tyv") == "silent"


def test_case_does_not_matter():
    assert check_alphabet(SENTENCES["uk"].upper(), "uk") == "agrees"


@pytest.mark.parametrize(("foreign", "opinion"), [(1, "silent"), (2, "contradicts")])
def test_one_foreign_letter_is_a_slip_and_two_are_not(foreign, opinion):
    assert check_alphabet("собака бежит " + "ї" * foreign, "ru") == opinion


@pytest.mark.parametrize(("foreign", "ruled_out"), [(4, False), (5, True)])
def test_one_in_a_hundred_letters_may_be_foreign(foreign, ruled_out):
    # 400 letters and more that Russian and Ukrainian share, and three that only Russian has
    text = "парк карта план " * 31 + "ы" * 3
    assert rules_out(text + "і" * foreign, "ru") == ruled_out
    assert not rules_out(text + "і" * foreign, "uk")


def test_a_text_without_the_letters_a_language_needs_is_not_in_it():
    # і, ї, є are 7 of 100 Ukrainian letters: 5 are expected among 72, and only then is their absence counted
    assert not rules_out("давно " * 14, "uk")
    assert rules_out("давно " * 15, "uk")


def test_latin_letters_overrule_nobody():
    assert check_alphabet(SENTENCES["pl"], "en") == "contradicts"
    assert not rules_out(SENTENCES["pl"], "en")


def test_alphabets_are_lower_case_and_hold_the_letters_they_need():
    for script in ("Cyrillic", "Arabic", "Hebrew", "Latin"):
        for code, alphabet in ALPHABETS[script].items():
            assert all(letter == letter.lower() for letter in alphabet.letters), code
            assert alphabet.needed <= alphabet.letters, code
            assert bool(alphabet.needed) == (alphabet.share > 0), code
