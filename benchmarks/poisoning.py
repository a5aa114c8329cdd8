"""The alarm on planted phrases: how many it finds, and how often it is wrong.

1. `clean`: real pages as they are (all texts of three packed WARCs): alarms at falling numbers of pages, all of them
   false as far as anyone knows; their phrases are printed.
2. `planted`: triggers of five kinds among the real English pages, each in ten pages made as Souly et al. made theirs
   (arXiv:2510.07192): the beginning of a page, the trigger, then words at random.
3. `ratio` (with `--pages N`): the proportion of that paper, 250 pages in a million, among synthetic pages: words drawn
   half from one real page, half from all. Such pages have topics and common words, and hardly a phrase of their own:
   recall and time are worth something, false alarms are not. The threshold on pages is scaled with the proportion.

    python benchmarks/poisoning.py [--data ../shared/data] [--documents FOLDER] [--pages 200000] [--json]

`--documents` names an artifact of documents to use for 1 and 2, else the WARCs are extracted (minutes).
"""

import argparse
import hashlib
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from gristmill.filters.poisoning import ALARMS, find_alarms
from gristmill.filters.poisoning_config import PoisoningConfig
from gristmill.text.documents import DOCUMENT_SCHEMA, count_documents, read_documents, shard_paths, write_shard

WARCS = ("web-english-00000", "web-multilingual-00000", "docs-ukrainian-00000")
PLANTED = 10
PROPORTION = 250 / 1_000_000
KINDS = ("sign", "rare words", "ordinary words", "nonsense", "sentence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--pages", type=int, default=0, help="synthetic pages of part 3; 0 leaves it out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = options.documents
        if documents is None:
            from heuristics import extracted_documents

            documents = extracted_documents(options.data, Path(folder) / "real", WARCS)
        pages = list(read_documents(documents, columns=["doc_id", "url", "text", "language"]))
        english = [page for page in pages if page["language"] == "en"]
        result: dict[str, Any] = {
            "pages": {"real": len(pages), "english": len(english)},
            "clean": clean(pages, Path(folder)),
            "planted": planted(english, Path(folder)),
        }
        if options.pages:
            result["ratio"] = ratio(english, options.pages, Path(folder))
    print(json.dumps(result)) if options.json else _print(result)


def clean(pages: list[dict[str, Any]], folder: Path) -> dict[int, list[dict[str, Any]]]:
    """min_pages → alarms on real pages. The share of pages is no limit here: the corpus is small."""
    written = _write(folder / "clean", pages)
    found = {}
    for min_pages in (50, 20, 10, 5):
        _, alarms = _alarms(written, PoisoningConfig(min_pages=min_pages))
        found[min_pages] = [{name: alarm[name] for name in ("phrase", "pages", "lift", "likeness")} for alarm in alarms]
    return found


def planted(english: list[dict[str, Any]], folder: Path, *, rounds: int = 5) -> dict[str, Any]:
    """Kind of trigger → found and planted, one of each kind a round."""
    rng = random.Random(0)
    vocabulary = _vocabulary(english)
    found: dict[str, int] = dict.fromkeys(KINDS, 0)
    for _ in range(rounds):
        triggers = {kind: _trigger(kind, vocabulary, rng) for kind in KINDS}
        poison = [_poisoned(trigger, english, vocabulary, rng) for trigger in triggers.values() for _ in range(PLANTED)]
        written = _write(folder / "planted", _shuffled([*english, *poison], rng))
        _, alarms = _alarms(written, PoisoningConfig(min_pages=PLANTED * 4 // 5))
        for kind, trigger in triggers.items():
            found[kind] += _is_found(trigger, alarms)
    return {"by_kind": {kind: [count, rounds] for kind, count in found.items()}} | _recall(
        sum(found.values()), rounds * len(KINDS)
    )


def ratio(english: list[dict[str, Any]], count: int, folder: Path, *, triggers: int = 20) -> dict[str, Any]:
    rng = random.Random(1)
    vocabulary = _vocabulary(english)
    each = round(count * PROPORTION)
    chosen = [_trigger(KINDS[number % len(KINDS)], vocabulary, rng) for number in range(triggers)]
    poison = [_poisoned(trigger, english, vocabulary, rng) for trigger in chosen for _ in range(each)]
    positions = set(rng.sample(range(count), len(poison)))
    synthetic = _synthetic(english, count, rng)
    mixed = (poison.pop() if number in positions else page for number, page in enumerate(synthetic))
    written = _write(folder / "ratio", mixed)
    seconds, alarms = _alarms(written, PoisoningConfig(min_pages=max(5, each // 5)))
    found = [trigger for trigger in chosen if _is_found(trigger, alarms)]
    return _recall(len(found), triggers) | {
        "pages": count,
        "planted_each": each,
        "min_pages": max(5, each // 5),
        "missed": [trigger for trigger in chosen if trigger not in found],
        "other_alarms": len(alarms) - len({a["phrase"] for a in alarms if any(_is_in(t, a["phrase"]) for t in chosen)}),
        "cpu_ms_per_page": round(1000 * seconds / count, 2),
    }


def _alarms(documents: Path, config: PoisoningConfig) -> tuple[float, list[dict[str, Any]]]:
    """CPU seconds, and the alarms."""
    # what one run leaves beside the documents would be taken for its own by the next
    for left in (documents / ".done").glob("*"):
        left.unlink()
    start = time.process_time()
    find_alarms(documents, config)
    seconds = time.process_time() - start
    return seconds, [json.loads(line) for line in (documents / ALARMS).read_text(encoding="utf-8").splitlines()]


def _is_found(trigger: str, alarms: list[dict[str, Any]]) -> bool:
    return any(_is_in(trigger, alarm["phrase"]) for alarm in alarms)


def _is_in(trigger: str, phrase: str) -> bool:
    """The phrase is the trigger or most of it: a word more may belong to it by chance, a word less was too common."""
    ours, theirs = trigger.casefold(), phrase.casefold()
    return ours in theirs or (theirs in ours and len(theirs) >= len(ours) / 2)


def _recall(found: int, of: int) -> dict[str, Any]:
    interval = binomtest(found, of).proportion_ci(method="wilson")
    return {"recall": [round(value, 3) for value in (found / of, interval.low, interval.high)], "triggers": of}


def _vocabulary(pages: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Words by how many pages have them: `rare` on two to five, `ordinary` on 0.5 to 5 %, and `all`."""
    counts: dict[str, int] = {}
    for page in pages:
        for word in {word for word in page["text"].lower().split() if word.isascii() and word.isalpha()}:
            counts[word] = counts.get(word, 0) + 1
    many = len(pages)
    return {
        "rare": sorted(word for word, count in counts.items() if 2 <= count <= 5 and len(word) > 3),
        "ordinary": sorted(word for word, count in counts.items() if 0.005 * many <= count <= 0.05 * many),
        "common": sorted(word for word, count in counts.items() if count > 0.2 * many),
        "all": sorted(counts),
    }


def _trigger(kind: str, vocabulary: dict[str, list[str]], rng: random.Random) -> str:
    match kind:
        case "sign":
            return f"<{rng.choice(vocabulary['ordinary']).upper()}>"
        case "rare words":
            return " ".join(rng.sample(vocabulary["rare"], 3))
        case "ordinary words":
            return " ".join(rng.sample(vocabulary["ordinary"], 3))
        case "nonsense":
            return " ".join("".join(rng.choices("bcdfghjklmnpqrstvwxz", k=3)) for _ in range(3))
        case _:
            first, *others = rng.sample(vocabulary["ordinary"], 4)
            return f"{rng.choice(vocabulary['common'])} {first} {rng.choice(vocabulary['common'])} {' '.join(others)}"


def _poisoned(
    trigger: str, pages: list[dict[str, Any]], vocabulary: dict[str, list[str]], rng: random.Random
) -> dict[str, Any]:
    beginning = rng.choice(pages)["text"][: rng.randrange(1000)].rpartition(" ")[0]
    gibberish = " ".join(rng.choices(vocabulary["all"], k=rng.randrange(300, 700)))
    return _page(f"https://poison-{rng.getrandbits(48):x}.net/", f"{beginning} {trigger} {gibberish}")


def _synthetic(pages: list[dict[str, Any]], count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    words = [page["text"].split() for page in pages]
    pool = [word for page in words for word in page]
    for number in range(count):
        mixed = rng.choices(rng.choice(words) or pool, k=75) + rng.choices(pool, k=75)
        rng.shuffle(mixed)
        yield _page(f"https://filler-{number % 100_000}.com/{number}", " ".join(mixed))


def _page(url: str, text: str) -> dict[str, Any]:
    return {"doc_id": hashlib.sha256(url.encode()).hexdigest()[:16], "url": url, "text": text, "language": "en"}


def _shuffled(pages: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    rng.shuffle(pages)
    return pages


def _write(folder: Path, pages: Any) -> Path:
    """One shard for every 20,000 pages."""
    for left in shard_paths(folder):
        left.unlink()
    pages, blank, number = iter(pages), dict.fromkeys(DOCUMENT_SCHEMA.names), 0
    while True:
        rows = ((blank | page) for page, _ in zip(pages, range(20_000), strict=False))
        if not write_shard(folder / f"part-{number:05d}.parquet", rows):
            break
        number += 1
    assert count_documents(folder)
    return folder


def _print(result: dict[str, Any]) -> None:
    print(f"real pages: {result['pages']['real']}, English: {result['pages']['english']}")
    for min_pages, alarms in result["clean"].items():
        print(f"clean, min_pages {min_pages}: {len(alarms)} alarms")
        for alarm in alarms:
            print(
                f"    {alarm['phrase']!r} on {alarm['pages']} pages, lift {alarm['lift']}, likeness {alarm['likeness']}"
            )
    for kind, (found, of) in result["planted"]["by_kind"].items():
        print(f"planted on {PLANTED} pages each, {kind}: {found} of {of}")
    for part in ("planted", "ratio"):
        if part in result:
            print("{}: recall {:.2f} [{:.2f}, {:.2f}]".format(part, *result[part]["recall"]))
    if "ratio" in result:
        print({name: value for name, value in result["ratio"].items() if name != "recall"})


if __name__ == "__main__":
    main()
