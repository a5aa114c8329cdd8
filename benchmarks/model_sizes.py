"""How large the models of each family are by depth, as their configuration says: a table for docs/models.md.

    .venv/bin/python benchmarks/model_sizes.py [--vocab-size 8192] [--seq-len 512] [--json]

Arithmetic; no model is built. tests/unit/model/test_families.py compares it with the models themselves.
"""

import argparse
import json
from typing import get_args

from gristmill.model.config import ModelConfig
from gristmill.model.shape import Family

DEPTHS = (2, 4, 8, 12, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description="Sizes of models by family and depth.")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    rows = [
        sizes(family, depth, vocab_size=arguments.vocab_size, seq_len=arguments.seq_len)
        for family in get_args(Family)
        for depth in DEPTHS
    ]
    if arguments.json:
        print(json.dumps({"models": rows}))
        return
    print("| family | depth | width | feed-forward | all | without vocabulary | active per token |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['family']} | {row['depth']} | {row['width']} | {row['ffn']} | {millions(row['parameters'])} | "
            f"{millions(row['without_vocabulary'])} | {millions(row['active'])} |"
        )


def sizes(family: Family, depth: int, *, vocab_size: int, seq_len: int) -> dict:
    shape = ModelConfig(family=family, depth=depth).shape
    dense = str(shape.ffn_width)
    return {
        "family": family,
        "depth": depth,
        "width": shape.width,
        "ffn": f"{shape.experts_per_token} of {shape.experts} × {shape.expert_width}" if shape.experts else dense,
        "parameters": shape.parameters(vocab_size, seq_len),
        "without_vocabulary": shape.parameters_without_vocabulary,
        "active": shape.active_parameters(vocab_size, seq_len),
    }


def millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"


if __name__ == "__main__":
    main()
