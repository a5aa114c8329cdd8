"""Documented functions whose summary says in one sentence what they do, each in the split of its page."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gristmill.crawl.docstrings import ModuleDoc, plain
from gristmill.examples.config import ExamplesConfig
from gristmill.text.config import SplitConfig
from gristmill.text.split import Split, split_of

# code, markup, templates filled at run time, references
_NOT_PROSE = re.compile(r"[{}<>|\\=]|%\(|::|\w\(\w*\)|->|https?:|:$|\b(Args|Parameters|Returns|Raises|Examples?):")
_WORD = re.compile(r"[\"'(]*[A-Za-z][A-Za-z'’/-]*[\"')]*[,.;:!?]*")
# stubs: they say that something exists, not what it does
_STUB = re.compile(
    r"(deprecated|alias|see |same as|args\b|parameters\b|arguments\b|returns?:|todo|note\b|warning|internal|inherit|"
    r"override|initiali[sz]e (self|the class)|constructor|this (method|function|class) is|not implemented)",
    re.IGNORECASE,
)
MIN_PROSE_RATIO = 0.75


@dataclass(frozen=True)
class Function:
    """A function, class or method. docstring: without inline markup. summary: one sentence, with its full stop."""

    qualname: str
    package: str
    split: Split
    docstring: str
    summary: str

    @property
    def question(self) -> str:
        return f"What does `{self.qualname}` do?"


def usable_functions(
    modules: Iterable[ModuleDoc], config: ExamplesConfig, split: SplitConfig, dropped: Counter[str]
) -> list[Function]:
    """Functions with a real summary, in an order given by seed and name.

    dropped: counts by rule the functions that were not taken.
    """
    functions: dict[str, Function] = {}
    for module in modules:
        where = split_of(module.url, split)
        for entry in module.entries:
            summary = entry.summary.rstrip(" .") + "."
            if not _is_real(summary, entry.docstring, config):
                dropped["no_real_summary"] += 1
            elif entry.qualname in functions:
                dropped["repeated_name"] += 1
            else:
                docstring = plain(entry.docstring)
                functions[entry.qualname] = Function(entry.qualname, module.package, where, docstring, summary)
    return sorted(functions.values(), key=lambda function: seeded_digest(config.seed, function.qualname))


def seeded_digest(seed: int, *names: str) -> bytes:
    """32 bytes, the same on every machine: for orders and choices that look random."""
    return hashlib.sha256(":".join([str(seed), *names]).encode()).digest()


def _is_real(summary: str, docstring: str, config: ExamplesConfig) -> bool:
    tokens = summary.split()
    return (
        config.min_summary_words <= len(tokens) <= config.max_summary_words
        and summary[0].isupper()
        and not _NOT_PROSE.search(summary[:-1])
        and not _STUB.match(summary)
        and "deprecated" not in docstring[:400].lower()
        and sum(bool(_WORD.fullmatch(token)) for token in tokens) >= MIN_PROSE_RATIO * len(tokens)
    )
