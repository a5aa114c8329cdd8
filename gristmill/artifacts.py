"""The kinds of things that travel between stages. A handle is an address and the folder it stands for; no bytes.

A stage declares what it takes and makes by these classes, so a type checker refuses `Tokens` where `Documents` go.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Artifact:
    """One artifact: `address` such as `documents/dedup-60d09ddec826`, and where its files lie."""

    kind: ClassVar[str]
    address: str
    path: Path


class Warcs(Artifact):
    """WARC files by source, with `manifest.jsonl`."""

    kind = "warcs"


class Documents(Artifact):
    """Parquet shards of documents, with `verdicts.parquet`."""

    kind = "documents"


class Signatures(Artifact):
    """What tells documents apart without their texts: MinHash bands, shingles, facts; `signatures.json`."""

    kind = "signatures"


class Splits(Artifact):
    """`train/`, `validation/` and `held_out/`, each a folder of document shards."""

    kind = "splits"


class Examples(Artifact):
    """Instruction rows, preference pairs and benchmark items as JSONL."""

    kind = "examples"


class Tokenizer(Artifact):
    """A tokenizer folder as transformers reads it."""

    kind = "tokenizer"


class Tokens(Artifact):
    """Packed rows of token ids with an index."""

    kind = "tokens"


class Checkpoint(Artifact):
    """A model folder as transformers reads it: config, safetensors, tokenizer, chat template."""

    kind = "checkpoint"


class Evaluation(Artifact):
    """Scores with intervals, and `items.parquet`."""

    kind = "evaluation"


class Registration(Artifact):
    """Which version of which registered model holds a checkpoint."""

    kind = "registration"


class Promotion(Artifact):
    """The gate's verdict, rule by rule, and which alias moved."""

    kind = "promotion"


class ScalingLaw(Artifact):
    """A fitted scaling law: `law.json`, `rungs.parquet`, plots."""

    kind = "law"


class DocumentBits(Artifact):
    """`documents.parquet`: what every document of the validation texts costs a model, in bits."""

    kind = "bits"


class Ablation(Artifact):
    """A comparison of data recipes: `table.md`, `verdict.txt`, `comparisons.json`."""

    kind = "ablation"


class Curves(Artifact):
    """Accuracy by answers sampled and tokens spent: `curves.json`, `answers.parquet`, plots."""

    kind = "curves"
