"""MinHash deduplication beside datatrove and datasketch in speed, and beside brute force in recall and precision.

    .venv/bin/python benchmarks/dedup_vs_peers.py --datatrove-python ../datatrove/bin/python [--json]

    python3.11 -m venv ../datatrove && ../datatrove/bin/pip install 'datatrove[processing]==0.10.1' spacy

Speed: documents a CPU second from text to signatures on disk, tokenization included, one process, the median of
interleaved rounds on all pages of docs-multilingual-00000. gristmill runs its stage `signatures` (256 hashes; reading
Parquet and canonical URLs included), datatrove its `MinhashDedupSignature` with its defaults (112 hashes), datasketch
`MinHash.update_batch` with its defaults and 256 hashes on gristmill's words, in memory.

Recall and precision: the stages `signatures` and `dedup` against the Jaccard similarity of all pairs of those pages,
and of generated pairs in steps of .05. That similarity is computed here, by a tokenizer and set code of its own. A pair
at or above .8 is found when not both pages survive; a dropped page is right when the page named as kept instead is at
or above .8. Identical pairs (the same words) are counted apart. Intervals are Wilson's, 95 %. `recall_at_0_8` is over
all pairs at or above .8 that are not identical, real and generated; `precision` over all dropped pages.
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from heuristics import extracted_documents
from scipy.stats import binomtest

from gristmill.dedup.config import DedupConfig, SignaturesConfig
from gristmill.dedup.minhash import run_dedup
from gristmill.dedup.signatures import run_signatures
from gristmill.text.documents import DOCUMENT_SCHEMA, read_documents, read_shard, write_shard

PAIRS_PER_STEP = 2000
STEPS = tuple(round(0.5 + 0.05 * number, 2) for number in range(10))
THRESHOLD = 0.8
UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "MYANMAR", "KHMER")

Shingles = frozenset[tuple[str, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--datatrove-python", type=Path, required=True, help="of an environment with datatrove 0.10.1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        documents = extracted_documents(arguments.data, work, ["docs-multilingual-00000"])
        speed = compare_speed(documents, arguments.datatrove_python, arguments.rounds)
        real = real_pairs(documents, work / "real")
        generated = generated_pairs(work / "generated")
    result = {
        **speed,
        "recall_at_0_8": ratio([real["near"], *(found.recall for found in generated.values())]),
        "precision": ratio([real["precision"], *(found.precision for found in generated.values())]),
        "all_pairs_of_docs": {
            "documents": real["documents"],
            "identical_pairs_found": as_json(real["identical"]),
            "near_pairs_found": as_json(real["near"]),
            "precision": as_json(real["precision"]),
        },
        "generated": {f"{step:.2f}": found.as_json() for step, found in generated.items()},
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


Share = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """Of pairs: found and all at or above the threshold; rightly dropped and all dropped."""

    pairs: int
    recall: Share
    precision: Share

    def as_json(self) -> dict[str, Any]:
        shares = {"recall": as_json(self.recall), "precision": as_json(self.precision)}
        return {"pairs": self.pairs, "dropped": self.precision[1], **shares}


def ratio(shares: Iterable[Share]) -> float:
    counted = list(shares)
    return sum(some for some, _ in counted) / sum(of for _, of in counted)


def as_json(share: Share) -> dict[str, Any] | None:
    if share[1] == 0:
        return None
    interval = binomtest(*share).proportion_ci(0.95, method="wilson")
    return {
        "share": share[0] / share[1],
        "of": share[1],
        "low": round(float(interval.low), 4),
        "high": round(float(interval.high), 4),
    }


def compare_speed(documents: Path, datatrove_python: Path, rounds: int) -> dict[str, float]:
    """Documents a CPU second, and gristmill's as a multiple of the peers'."""
    texts = [document["text"] for document in read_documents(documents, columns=["text"])]
    datasketch_seconds([texts[0]])
    gristmill_seconds(documents)
    taken: dict[str, list[float]] = {"gristmill": [], "datatrove": [], "datasketch": []}
    for _ in range(rounds):
        taken["gristmill"].append(gristmill_seconds(documents))
        taken["datasketch"].append(datasketch_seconds(texts))
        taken["datatrove"] += datatrove_seconds(texts, datatrove_python)
    rates = {name: len(texts) / statistics.median(seconds) for name, seconds in taken.items()}
    return {
        "ratio_datatrove": rates["gristmill"] / rates["datatrove"],
        "ratio_datasketch": rates["gristmill"] / rates["datasketch"],
        **{f"{name}_docs_per_cpu_s": round(rate, 1) for name, rate in rates.items()},
        "chars_per_document": round(sum(map(len, texts)) / len(texts)),
    }


def gristmill_seconds(documents: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        run_signatures(documents, Path(folder), SignaturesConfig(), workers=1)
        return time.process_time() - started


def datasketch_seconds(texts: Sequence[str]) -> float:
    from datasketch import MinHash

    from gristmill.text.words import words

    started = time.process_time()
    for text in texts:
        found = words(text)
        sketch = MinHash(num_perm=256)
        sketch.update_batch({" ".join(found[start : start + 5]).encode() for start in range(max(len(found) - 4, 1))})
    return time.process_time() - started


def datatrove_seconds(texts: Sequence[str], python: Path) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "texts.jsonl"
        given.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        program = Path(__file__).with_name("datatrove_minhash.py")
        done = subprocess.run([str(python), str(program), str(given), "1"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])["cpu_s"]


def real_pairs(documents: Path, work: Path) -> dict[str, Any]:
    """All pairs of the pages, by brute force."""
    rows = {row["doc_id"]: row["text"] for row in read_documents(documents, columns=["doc_id", "text"])}
    words = {doc_id: tokenize(text) for doc_id, text in rows.items()}
    sets = {doc_id: shingle_set(found) for doc_id, found in words.items()}
    instead = dropped(documents, work)
    close = [pair for pair in combinations(rows, 2) if jaccard(sets[pair[0]], sets[pair[1]]) >= THRESHOLD]
    identical = [pair for pair in close if words[pair[0]] == words[pair[1]]]
    near = [pair for pair in close if words[pair[0]] != words[pair[1]]]
    right = sum(jaccard(sets[doc_id], sets[kept]) >= THRESHOLD for doc_id, kept in instead.items())

    def found(pairs: list[tuple[str, str]]) -> Share:
        return sum(left in instead or right in instead for left, right in pairs), len(pairs)

    return {
        "documents": len(rows),
        "identical": found(identical),
        "near": found(near),
        "precision": (right, len(instead)),
    }


def generated_pairs(work: Path) -> dict[float, Found]:
    """Pairs of pages that resemble each other and nothing else, by the step their similarity falls into."""
    draws = random.Random(0)
    lexicon = [f"w{number}" for number in range(20_000)]
    wanted = dict.fromkeys(STEPS, PAIRS_PER_STEP)
    pairs: list[tuple[float, float]] = []
    rows: list[dict[str, Any]] = []
    while any(wanted.values()):
        left = draws.choices(lexicon, k=draws.randrange(60, 400))
        right = altered(left, lexicon, draws)
        similarity = jaccard(shingle_set(left), shingle_set(right))
        step = next((each for each in reversed(STEPS) if similarity >= each), None)
        if step is None or similarity == 1 or not wanted[step]:
            continue
        wanted[step] -= 1
        rows += [
            {"doc_id": f"{2 * len(pairs) + side:016x}", "text": " ".join(text)}
            for side, text in ((0, left), (1, right))
        ]
        pairs.append((step, similarity))
    documents = work / "documents"
    urls = ({**row, "url": f"https://a.example/{row['doc_id']}"} for row in rows)
    write_shard(documents / "part-00000.parquet", urls, schema=DOCUMENT_SCHEMA)
    instead = dropped(documents, work)
    counts = {step: [0, 0, 0, 0] for step in STEPS}
    for number, (step, similarity) in enumerate(pairs):
        both = {f"{2 * number:016x}", f"{2 * number + 1:016x}"}
        lost = both & instead.keys()
        above = similarity >= THRESHOLD
        right = sum(above and instead[doc_id] in both for doc_id in lost)
        counts[step] = [
            a + b for a, b in zip(counts[step], (bool(lost) and above, above, right, len(lost)), strict=True)
        ]
    return {
        step: Found(PAIRS_PER_STEP, (found, above), (right, lost))
        for step, (found, above, right, lost) in counts.items()
    }


def altered(text: list[str], lexicon: list[str], draws: random.Random) -> list[str]:
    """Some single words and one run of words changed, and a piece cut off at the end."""
    changed = list(text)
    severity = draws.uniform(0, 0.3)
    for place in draws.sample(range(len(text)), int(len(text) * severity * draws.random() / 4)):
        changed[place] = draws.choice(lexicon)
    run = int(len(text) * severity * draws.random())
    start = draws.randrange(len(text) - run)
    changed[start : start + run] = draws.choices(lexicon, k=run)
    return changed[: len(changed) - int(len(changed) * severity * draws.random() / 2)] + draws.choices(lexicon, k=1)


def dropped(documents: Path, work: Path) -> dict[str, str]:
    """doc_id of each page that the stages drop → the one named as kept instead."""
    for name in ("signatures", "dedup"):
        (work / name).mkdir(parents=True)
    run_signatures(documents, work / "signatures", SignaturesConfig(), workers=1)
    config = DedupConfig(threshold=THRESHOLD)
    run_dedup(documents, work / "signatures", work / "dedup", config, workers=1)
    rows = read_shard(work / "dedup" / "verdicts.parquet", columns=["doc_id", "decision", "value"])
    return {row["doc_id"]: row["value"].rpartition(" ")[2] for row in rows if row["decision"] == "dropped"}


def tokenize(text: str) -> list[str]:
    """Runs of letters, digits and underscores, in one case; of scripts without spaces each letter. Letter by letter, so
    that it shares nothing with gristmill's expression."""
    found: list[str] = []
    word = ""
    for letter in unicodedata.normalize("NFKC", text).casefold():
        alone = ord(letter) > 0xE00 and unicodedata.name(letter, "").startswith(UNSPACED_SCRIPTS)
        if word and (alone or not (letter.isalnum() or letter == "_")):
            found.append(word)
            word = ""
        if alone and letter.isalnum():
            found.append(letter)
        elif letter.isalnum() or letter == "_":
            word += letter
    return [*found, word] if word else found


def shingle_set(words: Sequence[str]) -> Shingles:
    n = min(5, max(len(words), 1))
    return frozenset(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def jaccard(left: Shingles, right: Shingles) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared) if shared else 0.0


def show(result: dict[str, Any]) -> None:
    for name in ("gristmill", "datatrove", "datasketch"):
        print(f"{name}: {result[f'{name}_docs_per_cpu_s']} documents a CPU second")
    print(f"{result['ratio_datatrove']:.1f} times datatrove, {result['ratio_datasketch']:.1f} times datasketch")
    docs = result["all_pairs_of_docs"]
    for kind in ("identical", "near"):
        print(f"{docs['documents']} pages, {kind} pairs: recall {line(docs[f'{kind}_pairs_found'])}")
    print(f"precision {line(docs['precision'])}\n")
    print("| similarity from | pairs | pages dropped | recall | precision |\n|---|---|---|---|---|")
    for step, found in result["generated"].items():
        shares = f"{line(found['recall'])} | {line(found['precision'])}"
        print(f"| {step} | {found['pairs']} | {found['dropped']} | {shares} |")


def line(share: dict[str, Any] | None) -> str:
    return f"{share['share']:.4f} [{share['low']:.4f}, {share['high']:.4f}] of {share['of']}" if share else "–"


if __name__ == "__main__":
    main()
