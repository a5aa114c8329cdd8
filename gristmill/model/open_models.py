"""The `open_model` stage: an open model becomes a checkpoint of this store, made once: a plain Hugging Face folder.

Out come config.json, one model.safetensors, the tokenizer and `origin.json`, which says what the model is and under
which licence; it stays with every model that is made from this one. From a folder or the hub the weights keep their
precision; those of a GGUF file become float32, as what quantization left of them.

Three things are put right. Padding gets a token of its own where it had none or shared one with the end of a turn: a
token that is padding is never learned. Its new row of the matrices is zero. A document begins with `<|endoftext|>`
where the model has that and would begin it as a turn of a chat: its pages did before it was tuned. And a chat template
without markers of the assistant's words gets them where that changes no text (gristmill.model.chat_template).
No code of the model's folder is run: its architecture has to be one of transformers' own.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, GenerationConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from gristmill.model.chat_template import with_markers
from gristmill.model.config import is_masked_model
from gristmill.model.gguf_files import read_metadata, write_tokenizer
from gristmill.model.open_models_config import OpenModelConfig
from gristmill.model.open_sources import downloaded, located
from gristmill.model.origin import Origin, write_origin
from gristmill.model.template_check import require_harmless_template
from gristmill.report import Report
from gristmill.tokens.config import TOKENIZER_FILES

PAD, DOCUMENT_START, TURN_START = "<|pad|>", "<|endoftext|>", "<|im_start|>"


def run_open_model(out: Path, config: OpenModelConfig) -> Report:
    """Fill `out`. Raises ValueError for a model that cannot be read, runs code, or has weights that are not finite."""
    disable_progress_bar()
    place = downloaded(config.source)
    found = located(config.source)
    is_gguf = place.suffix.lower() == ".gguf"
    if is_gguf:
        write_tokenizer(read_metadata(place), out)
    else:
        _copy_tokenizer(place, out)
    require_harmless_template(out)
    model = _from_gguf(place) if is_gguf else _from_folder(place)
    _check_finite(model, found.name)
    template = _mark_answers(out)
    _begin_documents(out)
    padding = _own_padding(out, model)
    _write(model, out)
    origin = Origin(name=found.name, license=found.license, content=found.content)
    write_origin(origin, out)
    parameters = sum(weight.numel() for weight in model.parameters())
    return Report(
        rows_in=1,
        rows_out=1,
        unit="models",
        metrics={"parameters": parameters},
        details={
            "name": found.name,
            "license": found.license,
            "architecture": type(model).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "chat_template": template,
            "padding_token": padding,
        },
    )


def _from_folder(folder: Path) -> PreTrainedModel:
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(config, "quantization_config", None):
        raise ValueError(
            f"{folder.name} is quantized ({config.quantization_config.get('quant_method')}), so it cannot be trained "
            "on; take the model it was made from"
        )
    options = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    kind = AutoModelForMaskedLM if is_masked_model(folder) else AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype="auto", **options)


def _from_gguf(path: Path) -> PreTrainedModel:
    """Its weights as float32 numbers, in a model that no longer calls itself quantized, so that it can be saved."""
    options = {"gguf_file": path.name, "local_files_only": True}
    quantized = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **options)
    config: Any = AutoConfig.from_pretrained(path.parent, **options)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantized.state_dict())
    return plain


def _check_finite(model: PreTrainedModel, name: str) -> None:
    odd = [key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if odd:
        raise ValueError(f"{name}: {len(odd)} weights are not finite, {odd[0]} first; download the model again")


def _copy_tokenizer(folder: Path, out: Path) -> None:
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


def _mark_answers(folder: Path) -> str:
    """Put markers into the chat template. Returns what became of it."""
    settings = _settings(folder)
    inside, path = settings.pop("chat_template", None), folder / "chat_template.jinja"
    template = path.read_text() if path.is_file() else inside
    if template is None:
        return "none"
    special = {name: str(_text_of(value)) for name, value in settings.items() if name.endswith("_token") and value}
    marked = with_markers(template, special) if isinstance(template, str) else None
    if marked is None:
        return "as it was"
    path.write_text(marked)
    _write_settings(folder, settings)
    return "with markers of the assistant's words"


def _begin_documents(folder: Path) -> None:
    settings = _settings(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if _text_of(settings.get("bos_token")) == TURN_START and tokenizer.token_to_id(DOCUMENT_START) is not None:
        _write_settings(folder, settings | {"bos_token": DOCUMENT_START})


def _own_padding(folder: Path, model: PreTrainedModel) -> str:
    """Give padding a token that nothing else uses, and the model a row of zeros for it. Returns the token."""
    settings = _settings(folder)
    pad, others = _text_of(settings.get("pad_token")), {_text_of(settings.get(f"{name}_token")) for name in _OTHERS}
    if pad is not None and pad not in others:
        return pad
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.token_to_id(PAD) is None:
        tokenizer.add_special_tokens([AddedToken(PAD, special=True, normalized=False)])
        tokenizer.save(str(folder / "tokenizer.json"))
    number: Any = tokenizer.token_to_id(PAD)
    rows = len(model.get_input_embeddings().get_parameter("weight"))
    if number >= rows:
        model.resize_token_embeddings(number + 1, mean_resizing=False)
        with torch.no_grad():
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                if layer is not None:
                    layer.get_parameter("weight")[rows:] = 0.0
    _write_settings(folder, settings | {"pad_token": PAD})
    return PAD


_OTHERS = ("bos", "eos", "unk")


def _write(model: PreTrainedModel, out: Path) -> None:
    settings = _settings(out)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    ids = {
        f"{name}_token_id": tokenizer.token_to_id(text)
        for name in ("bos", "eos", "pad")
        if (text := _text_of(settings.get(f"{name}_token"))) is not None
    }
    for name, number in ids.items():
        setattr(model.config, name, number)
    if model.can_generate():
        model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(out, max_shard_size="1000GB")
    (out / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner only


def _settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tokenizer_config.json").read_bytes())


def _write_settings(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def _text_of(token: Any) -> str | None:
    return token["content"] if isinstance(token, dict) else token
