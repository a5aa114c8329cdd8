"""`gristmill export`: a checkpoint in the formats that others run, with what each costs in bits per byte."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from flows.cli import workspace
from flows.cli.champion import checkpoint

if TYPE_CHECKING:
    from gristmill.export.formats import Exported
    from gristmill.tokens.reader import TokenShards

Formats = Annotated[
    tuple[Literal["hf", "gguf", "int8", "int4"], ...],
    Parameter(name="--to", consume_multiple=True, negative="", help="One format or several."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


def export(
    model: Annotated[str | None, Parameter(help="A checkpoint's address; the champion when left out.")] = None,
    /,
    *,
    to: Formats,
    out: Annotated[Path | None, Parameter(help="Folder to write into; exports/ of the store when left out.")] = None,
    dtype: Annotated[Literal["f32", "f16", "bf16"], Parameter(help="Numbers of `gguf`'s matrices.")] = "f16",
    tokens: Annotated[str | None, Parameter(help="Token shards to measure on; those it was trained on.")] = None,
    rows: Annotated[int, Parameter(help="Validation rows to measure on; 0: do not measure.")] = 64,
    name: Annotated[str, Parameter(help="The registered model whose champion is exported.")] = "gristmill",
    as_json: Json = False,
) -> int:
    """Write a checkpoint as a Hugging Face folder, as GGUF for llama.cpp, or as GGUF with 8 or 4 bits a weight."""
    address = checkpoint(model, name)
    store = workspace.store()
    faults = store.verify(address)
    if faults:
        raise ValueError(f"{faults[0]}; nothing was exported")
    folder, stem = store.path(address), address.partition("/")[2]
    from gristmill.evaluate.checkpoints import prepare_process
    from gristmill.export.formats import export_model
    from gristmill.schema import Resources

    resources = Resources(device="cpu")
    prepare_process(resources)
    shards = _shards(address, folder, tokens) if rows else None
    made = [
        export_model(
            folder,
            out or workspace.root() / "exports",
            to=each,
            name=stem,
            source=address,
            dtype=dtype,
            threads=resources.threads,
        )
        for each in dict.fromkeys(to)
    ]
    whole = _bits_per_byte(folder, shards, rows, resources.threads)
    found = [_facts(each, whole, shards, rows, resources.threads) for each in made]
    if as_json:
        print(json.dumps({"schema_version": 1, "checkpoint": address, "bits_per_byte": whole, "exports": found}))
        return 0
    _show(found, whole)
    return 0


def _shards(address: str, folder: Path, tokens: str | None) -> "TokenShards | None":
    from gristmill.export.price import open_shards
    from gristmill.model.config import is_masked_model

    if is_masked_model(folder):
        print("not measured: a model that fills in masked tokens gives a text no bits per byte", file=sys.stderr)
        return None
    store = workspace.store()
    if tokens is None:
        lineage = (record for _, _, record in store.lineage(address) if record)
        tokens = next((record.address for record in lineage if record.recipe.kind == "tokens"), None)
    if tokens is None:
        print(f"not measured: the token shards of {address} are gone; name some with --tokens", file=sys.stderr)
        return None
    store.load(tokens)
    return open_shards(store.path(tokens), folder)


def _bits_per_byte(path: Path, shards: "TokenShards | None", rows: int, threads: int) -> float | None:
    from gristmill.export import llama, price

    if shards is None:
        return None
    if path.is_dir():
        return price.bits_per_byte_of_folder(path, shards, rows=rows)
    if not llama.installed():
        print(f"{path.name} not measured: llama.cpp is not installed (gristmill[llama])", file=sys.stderr)
        return None
    return price.bits_per_byte_of_gguf(path, shards, rows=rows, threads=threads)


def _facts(
    made: "Exported", whole: float | None, shards: "TokenShards | None", rows: int, threads: int
) -> dict[str, Any]:
    measured = _bits_per_byte(made.path, shards, rows, threads)
    price = None if measured is None or whole is None else measured - whole
    facts = {"format": made.format, "path": str(made.path), "bytes": made.bytes, "types": made.types}
    return facts | {"bits_per_byte": measured, "price": price}


def _show(found: list[dict[str, Any]], whole: float | None) -> None:
    if whole is not None:
        print(f"checkpoint  {whole:.4f} bits per byte")
    for facts in found:
        print(f"{facts['format']:<10}  {facts['path']}  {facts['bytes'] / 1e6:,.1f} MB")
        if facts["types"]:
            numbers = sum(facts["types"].values())
            shares = ", ".join(f"{kind} {count / numbers:.1%}" for kind, count in facts["types"].items())
            print(f"{'':<10}  {8 * facts['bytes'] / numbers:.2f} bits a weight: {shares}")
        if facts["price"] is not None:
            print(f"{'':<10}  {facts['bits_per_byte']:.4f} bits per byte, {facts['price']:+.4f}")
