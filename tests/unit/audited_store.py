"""A store of one small run, written by hand: what became of eight pages is known, so that answers can be checked.

| page | URL | end |
|---|---|---|
| one | https://a.example/one | train, rows 0 and 1 of 3 |
| copy | https://b.example/copy | dedup drops it for `one` |
| foreign | https://b.example/foreign | extract drops it, language |
| short | https://sub.a.example/short | filter drops it, min_words |
| held | https://a.example/held | held out |
| hostile | markup in URL and text | train, rows 1 and 2 |
| again | https://a.example/one, a day later | dedup drops it, the same URL |
| near | https://nota.example/x | filter masks an e-mail address; validation |
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.report import Report
from gristmill.store import ArtifactStore, Recipe, Record
from gristmill.text.documents import DOCUMENT_SCHEMA, kept, verdict, verdict_schema, write_shard
from gristmill.text.words import text_hash
from gristmill.tokens.pack import INDEX_SCHEMA

SCRIPT = '"><script>document.title = "owned"</script><img src=x onerror="document.title=1">'
HOSTILE_URL = f"https://evil.example/{SCRIPT}"
HOSTILE_TEXT = (
    f"</pre></details>{SCRIPT}<a href='https://evil.example'>click</a> \u202e\x1b[31m javascript:alert(1) **b** | c"
)

PAGES = {
    "one": ("https://a.example/one", "The text that is kept, word by word."),
    "copy": ("https://b.example/copy", "The text that is kept, word by word!"),
    "foreign": ("https://b.example/foreign", "Це інша мова."),
    "short": ("https://sub.a.example/short", "Ask x@does-not-exist.ua"),
    "held": ("https://a.example/held", "A page that never trains."),
    "hostile": (HOSTILE_URL, HOSTILE_TEXT),
    "again": ("https://a.example/one", "An older text of the same address."),
    "near": ("https://nota.example/x", "Write to somebody@example.org about it."),
}
SEQ_LEN, BATCH_ROWS, STEPS, ROWS = 4, 1, 2, 3
SIGNALS = DOCUMENT_SCHEMA.append(pa.field("words", pa.int32()))
for _ratio in ("alpha_word_ratio", "toxicity"):  # null: not measured
    SIGNALS = SIGNALS.append(pa.field(_ratio, pa.float32()))
THRESHOLDS = {"min_words": 3, "max_toxicity": 0.5, "max_words": None, "by_language": {"uk": {"min_words": 2}}}


def doc_id(name: str) -> str:
    return f"{list(PAGES).index(name):016x}"


def make_store(root: Path, *, changed: dict[str, str] | None = None) -> ArtifactStore:
    """Every artifact of the run, and `last_run.json`. changed: page → another text for it."""
    store = ArtifactStore(root)
    run = _Run(store, changed or {})
    run.build()
    stages = [{"stage": r.label, "state": "built", "seconds": 1.0, "key": r.address} for r in run.records]
    last = {"run": "test-20260101-000000", "config": "test", "flow": "pipeline", "stages": stages}
    (root / "runs").mkdir()
    for path in (root / "last_run.json", root / "runs" / f"{last['run']}.json"):
        path.write_text(json.dumps(last))
    return store


def address_of(store: ArtifactStore, label: str) -> str:
    return next(record.address for record in store.records() if record.label == label)


class _Run:
    def __init__(self, store: ArtifactStore, changed: dict[str, str]) -> None:
        self.store, self.changed = store, changed
        self.records: list[Record] = []

    def build(self) -> None:
        self.publish("warcs", "ingest", {}, {"web/a.warc.gz": b"WARC/1.0", "manifest.jsonl": b"{}\n"})
        pages = {name: _document(name, self.changed.get(name)) for name in PAGES}
        known = {name: page for name, page in pages.items() if name != "foreign"}
        self.judge("extract", {"warcs": "ingest"}, pages, known, {"foreign": ("language", "uk 0.99", "en 0.65")})
        measured = {n: {**page, "words": len(page["text"].split())} for n, page in known.items()}
        self.judge("signals", {"documents": "extract"}, measured, measured, {}, schema=SIGNALS)
        filtered = {name: page for name, page in measured.items() if name != "short"}
        masked = filtered | {"near": {**filtered["near"], "text": "Write to <EMAIL> about it."}}
        drops = {"short": ("min_words", "2", "3"), "near": ("pii:email", "1 email", None, "redacted")}
        self.judge("filter", {"documents": "signals"}, measured, masked, drops, {"filter": THRESHOLDS}, SIGNALS)
        clustered = SIGNALS.append(pa.field("cluster_size", pa.int32()))
        unique = {
            n: {**p, "cluster_size": 3 if n == "one" else 1} for n, p in masked.items() if n not in ("copy", "again")
        }
        drops = {
            "copy": ("duplicate_text", f"same as {doc_id('one')}", "the best of one text"),
            "again": ("duplicate_url", f"same as {doc_id('one')}", "the latest of one URL"),
        }
        before = {name: unique.get(name, page) for name, page in masked.items()}
        self.judge("dedup", {"documents": "filter"}, before, unique, drops, schema=clustered)
        self.split(unique, clustered)
        self.publish("tokenizer", "train_tokenizer", {"splits": "split"}, {"tokenizer.json": b"{}"})
        self.tokenize()
        pretrain = {"pretrain": {"batch_rows": BATCH_ROWS, "seed": 0}}
        inputs = {"tokens": "tokenize", "tokenizer": "train_tokenizer"}
        trained = Report(rows_in=12, rows_out=8, unit="tokens", metrics={"steps": STEPS})
        self.publish("checkpoint", "pretrain", inputs, {"model.safetensors": b"0"}, pretrain, trained)
        self.publish("checkpoint", "sft", {"model": "pretrain"}, {"model.safetensors": b"1"})
        self.publish("evaluation", "evaluate", {"model": "sft", "tokens": "tokenize"}, {"scores.json": b"{}"})
        made = {"model": "gristmill", "version": "1", "checkpoint": self.address("sft")}
        self.publish("registration", "register", {"model": "sft"}, {"registration.json": json.dumps(made).encode()})

    def address(self, label: str) -> str:
        return next(record.address for record in self.records if record.label == label)

    def judge(
        self,
        stage: str,
        inputs: dict[str, str],
        entered: dict[str, dict[str, Any]],
        went_on: dict[str, dict[str, Any]],
        rules: dict[str, tuple],
        config: dict[str, Any] | None = None,
        schema: pa.Schema = DOCUMENT_SCHEMA,
    ) -> None:
        rows = []
        for name, page in entered.items():
            if name in rules:
                rule, value, threshold, *decision = rules[name]
                decided = {"rule": rule, "value": value, "threshold": threshold, "decision": (*decision, "dropped")[0]}
                rows.append(verdict(page, stage=stage, **decided))
            else:
                rows.append(kept(page, stage=stage))

        def write(draft: Path) -> None:
            write_shard(draft / "verdicts.parquet", rows, schema=verdict_schema(schema))
            write_shard(draft / "part-00000.parquet", went_on.values(), schema=schema)

        report = Report(
            rows_in=len(entered), rows_out=len(went_on), unit="pages" if stage == "extract" else "documents"
        )
        self.publish("documents", stage, inputs, {}, config, report, write)

    def split(self, pages: dict[str, dict[str, Any]], schema: pa.Schema) -> None:
        falls = {"one": "train", "held": "held_out", "hostile": "train", "near": "validation"}
        facts = {"stage": "split", "rule": "split", "threshold": None, "decision": "kept"}
        rows = [verdict(page, value=falls[name], **facts) for name, page in pages.items()]

        def write(draft: Path) -> None:
            write_shard(draft / "verdicts.parquet", rows, schema=verdict_schema(schema))
            for part in set(falls.values()):
                mine = [page for name, page in pages.items() if falls[name] == part]
                write_shard(draft / part / "part-00000.parquet", mine, schema=schema)

        self.publish("splits", "split", {"documents": "dedup"}, {}, None, Report(rows_in=4, rows_out=4), write)

    def tokenize(self) -> None:
        """Rows of 5: page `one` has 8 tokens with its two document starts, `hostile` the other 7."""
        pieces = [
            ("train", 0, 0, 5, "one", False),
            ("train", 1, 0, 3, "one", True),
            ("train", 1, 3, 2, "hostile", False),
            ("train", 2, 0, 5, "hostile", True),
            ("validation", 0, 0, 5, "near", False),
        ]
        columns = ("split", "row", "start", "length", "doc_id", "continuation")
        index = [dict(zip(columns, piece, strict=True)) | {"doc_id": doc_id(piece[4])} for piece in pieces]
        splits = {"train": {"rows": ROWS}, "validation": {"rows": 1}}
        meta = {"seq_len": SEQ_LEN, "digest": "feed", "splits": splits}

        def write(draft: Path) -> None:
            pq.write_table(pa.Table.from_pylist(index, schema=INDEX_SCHEMA), draft / "index.parquet")
            for split, shards in {"train": (2, 1), "validation": (1,)}.items():
                (draft / split).mkdir()
                for number, rows in enumerate(shards):
                    np.save(draft / split / f"tokens-{number:05d}.npy", np.zeros((rows, SEQ_LEN + 1), np.uint16))
            np.save(draft / "token_bytes.npy", np.ones(8, np.int32))
            (draft / "meta.json").write_text(json.dumps(meta))

        inputs = {"splits": "split", "tokenizer": "train_tokenizer"}
        self.publish("tokens", "tokenize", inputs, {}, None, Report(rows_in=15, rows_out=15, unit="tokens"), write)

    def publish(
        self,
        kind: str,
        stage: str,
        inputs: dict[str, str],
        files: dict[str, bytes],
        config: dict[str, Any] | None = None,
        report: Report | None = None,
        write: Any = None,
    ) -> None:
        addresses = {name: self.address(label) for name, label in inputs.items()}
        recipe = Recipe(kind=kind, stage=stage, version=1, config=config or {}, inputs=dict(addresses))
        with self.store.building(recipe.address) as draft:
            for name, content in files.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).write_bytes(content)
            if write:
                write(draft)
            made = report or Report(rows_in=1, rows_out=1)
            facts = {"label": stage, "run": "test-20260101-000000", "seconds": 1.0}
            self.records.append(self.store.publish(draft, recipe, made, **facts))


def _document(name: str, changed: str | None) -> dict[str, Any]:
    url, text = PAGES[name][0], changed or PAGES[name][1]
    number = list(PAGES).index(name)
    return {
        "doc_id": doc_id(name),
        "url": url,
        "text": text,
        "date": f"2026-01-{number + 1:02d}T00:00:00Z",
        "source": "web",
        "license": "CC-BY-4.0",
        "warc_file": "web/a.warc.gz",
        "warc_offset": 100 * number,
        "language": "uk" if name == "foreign" else "en",
        "language_score": 0.9,
        "text_hash": None if name == "foreign" else text_hash(text),
    }
