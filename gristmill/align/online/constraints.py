"""Instructions whose following can be checked by a program, by the names and arguments of IFEval (arXiv:2311.07911).

Written from the paper's descriptions. Sentences are told apart by their punctuation and words by `\\w+`, where IFEval
asks nltk; paragraphs stand between `***` in its counting instruction and between empty lines elsewhere.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.align.online.rollout import Answer

Check = Callable[..., bool]

CONSTRAINED_RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def followed_share(answer: "Answer") -> float:
    """Share of the row's instructions that an answer follows: `instruction_id_list` and `kwargs`, as in IFEval."""
    row = answer.prompt.row
    names, arguments = row.get("instruction_id_list"), row.get("kwargs")
    if not names or not isinstance(arguments, list) or len(names) != len(arguments):
        raise ValueError(
            f"row {answer.prompt.row_id}: a reward of kind constraints needs `instruction_id_list` and as many `kwargs`"
        )
    return sum(follows(answer.text, name, given) for name, given in zip(names, arguments, strict=True)) / len(names)


def follows(text: str, instruction: str, arguments: dict[str, Any]) -> bool:
    """Whether a text follows one instruction. An empty text follows none. Raises ValueError for an unknown one."""
    check = CHECKS.get(instruction)
    if check is None:
        raise ValueError(f"unknown instruction {instruction!r}; known: {', '.join(sorted(CHECKS))}")
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    return bool(text.strip()) and check(text, **given)


def _compared(count: int, relation: str, wanted: int) -> bool:
    return count >= wanted if relation == "at least" else count < wanted


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _sentences(text: str) -> int:
    return len([part for part in re.split(r"(?<=[.!?])[\"'”’)\]]*\s+", text.strip()) if _words(part)])


def _keyword_count(text: str, keyword: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(keyword)}(?!\w)", text, re.IGNORECASE))


def _forbidden_words(text: str, *, forbidden_words: list[str]) -> bool:
    return not any(_keyword_count(text, word) for word in forbidden_words)


def _existence(text: str, *, keywords: list[str]) -> bool:
    return all(keyword.casefold() in text.casefold() for keyword in keywords)


def _frequency(text: str, *, keyword: str, relation: str, frequency: int) -> bool:
    return _compared(len(re.findall(re.escape(keyword), text, re.IGNORECASE)), relation, frequency)


def _letter_frequency(text: str, *, letter: str, let_relation: str, let_frequency: int) -> bool:
    return _compared(text.casefold().count(letter.casefold()), let_relation, let_frequency)


def _number_words(text: str, *, relation: str, num_words: int) -> bool:
    return _compared(len(_words(text)), relation, num_words)


def _number_sentences(text: str, *, relation: str, num_sentences: int) -> bool:
    return _compared(_sentences(text), relation, num_sentences)


def _number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner_are_full = all(parts[1:-1])
    return inner_are_full and sum(map(bool, parts)) == num_paragraphs


def _nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    paragraphs = [part.strip() for part in re.split(r"\n\n+", text) if part.strip()]
    if len(paragraphs) != num_paragraphs or not 1 <= nth_paragraph <= num_paragraphs:
        return False
    words = _words(paragraphs[nth_paragraph - 1])
    return bool(words) and words[0].casefold() == first_word.casefold()


def _number_placeholders(text: str, *, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\[\]]*\]", text)) >= num_placeholders


def _postscript(text: str, *, postscript_marker: str) -> bool:
    letters = [re.escape(letter) for letter in postscript_marker if letter.isalnum()]
    return re.search(r"^\s*" + r"\.?\s?".join(letters) + r"\.?.*$", text, re.IGNORECASE | re.MULTILINE) is not None


def _number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    return len(re.findall(r"^\s*(?:\*(?!\*)|-)\s*\S", text, re.MULTILINE)) == num_bullets


def _number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    found = re.findall(r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*", text)
    return sum(bool((double or single).strip()) for double, single in found) >= num_highlights


def _title(text: str) -> bool:
    return any(found.strip() for found in re.findall(r"<<([^\n<>]+)>>", text))


def _multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{re.escape(section_spliter)}\s?\d+\s?", text)) >= num_sections


def _json_format(text: str) -> bool:
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip(), flags=re.IGNORECASE)
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _constrained_response(text: str) -> bool:
    return any(allowed in text for allowed in CONSTRAINED_RESPONSES)


def _repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    return text.strip().casefold().startswith(prompt_to_repeat.strip().casefold())


def _two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    full = [part for part in parts if part]
    return len(full) == 2 and full[0] != full[1] and all(parts[1:-1])


def _end_checker(text: str, *, end_phrase: str) -> bool:
    return text.strip().strip('"').casefold().endswith(end_phrase.strip().casefold())


def _quotation(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def _capital_word_frequency(text: str, *, capital_relation: str, capital_frequency: int) -> bool:
    return _compared(sum(word.isupper() for word in _words(text)), capital_relation, capital_frequency)


def _response_language(text: str, *, language: str) -> bool:
    return _identifier().identify(text)[0] == language


@cache
def _identifier():
    from gristmill.text.config import LanguageConfig
    from gristmill.text.language import LanguageIdentifier

    return LanguageIdentifier(LanguageConfig())


CHECKS: dict[str, Check] = {
    "change_case:capital_word_frequency": _capital_word_frequency,
    "change_case:english_capital": lambda text: text.isupper(),
    "change_case:english_lowercase": lambda text: text.islower(),
    "combination:repeat_prompt": _repeat_prompt,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _number_placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _constrained_response,
    "detectable_format:json_format": _json_format,
    "detectable_format:multiple_sections": _multiple_sections,
    "detectable_format:number_bullet_lists": _number_bullet_lists,
    "detectable_format:number_highlighted_sections": _number_highlighted_sections,
    "detectable_format:title": _title,
    "keywords:existence": _existence,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _response_language,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:number_sentences": _number_sentences,
    "length_constraints:number_words": _number_words,
    "punctuation:no_comma": lambda text: "," not in text,
    "startend:end_checker": _end_checker,
    "startend:quotation": _quotation,
}
