"""`gristmill estimate`: arithmetic before anything is bought. Nothing is run or asked."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from flows.cli import workspace
from gristmill.ledger.options import OptionsQuestion, estimate_options
from gristmill.ledger.serving import Format, Load, Machine, ServedModel, estimate_serving

app = App(name="estimate", help="What serving or training would cost, by arithmetic on numbers that you state.")
Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object on stdout.")]


@app.command
def serving(
    model: Annotated[str, Parameter(help="A checkpoint's address, or a Hugging Face folder.")],
    /,
    *,
    format: Annotated[Format, Parameter(help="Of the weights.")] = "bf16",
    bandwidth: Annotated[float, Parameter(help="GB/s of the machine's memory, of its data sheet.")],
    tflops: Annotated[float, Parameter(help="TFLOP/s of the machine, of its data sheet.")],
    machine_hour: Annotated[float, Parameter(help="Price of an hour of it.")],
    prompt_tokens: int = 500,
    answer_tokens: int = 200,
    at_once: Annotated[int, Parameter(help="Requests answered together.")] = 8,
    requests_per_s: Annotated[float | None, Parameter(help="The load; one busy machine when left out.")] = None,
    as_json: Json = False,
) -> int:
    """Memory, tokens per second, and money for a million tokens of answers."""
    sizes = served_model(Path(model) if Path(model).is_dir() else workspace.store().path(model))
    asked = {"prompt_tokens": prompt_tokens, "answer_tokens": answer_tokens, "at_once": at_once}
    load = Load(**asked, requests_per_s=requests_per_s)
    made = estimate_serving(sizes, load, Machine(gigabytes_per_s=bandwidth, tflops=tflops, hour=machine_hour), format)
    if as_json:
        print(json.dumps({"schema_version": 1, **sizes.model_dump(), **made.model_dump()}, indent=2))
        return 0
    print(f"memory           {made.memory_bytes / 1e9:,.3g} GB, of it weights {made.weights_bytes / 1e9:,.3g}")
    print(f"tokens a second  {made.tokens_per_s:,.0f} of a machine ({made.bound_by} bounds a step of decoding)")
    print(f"machines         {made.machines}")
    print(f"money            {made.price_per_million:.4g} for a million tokens of answers")
    print(*(f"  {formula}" for formula in made.formulas), sep="\n")
    return 0


@app.command
def options(question: Annotated[OptionsQuestion, Parameter(name="*")], /, *, as_json: Json = False) -> int:
    """From scratch, adapted, or an API: the costs of each, and from which volume on your own model is cheaper."""
    made = estimate_options(question)
    if as_json:
        print(json.dumps({"schema_version": 1, "options": [option.model_dump() for option in made]}, indent=2))
        return 0
    for option in made:
        print(f"{option.name:13} {option.total:>14,.2f} in {question.months:g} months: {option.formula}")
    for option in made[:2]:
        even = (
            f"{option.break_even:,.1f} million tokens a month"
            if option.break_even
            else "no volume: a full machine costs more"
        )
        print(f"{option.name} is no dearer than the API from {even}")
    return 0


def served_model(folder: Path) -> ServedModel:
    """Sizes of a Hugging Face folder, from its config and the headers of its weights."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())

    def size(*names: str) -> int:
        found = next((config[name] for name in names if config.get(name)), None)
        if found is None:
            raise ValueError(
                f"{folder}/config.json has none of {', '.join(names)}, so its keys and values have no size"
            )
        return int(found)

    heads = size("num_attention_heads", "n_head")
    head_dim = config.get("head_dim") or size("hidden_size", "n_embd") // heads
    kv_heads = config.get("num_key_value_heads") or heads
    layers = size("num_hidden_layers", "n_layer")
    return ServedModel(parameters=_parameters(folder), layers=layers, kv_heads=kv_heads, head_dim=head_dim)


def _parameters(folder: Path) -> int:
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    if not total:
        raise ValueError(f"{folder} has no *.safetensors; expected a Hugging Face model folder")
    return total
