"""A language model small enough for a unit test, as the stages hand it on: folder, tokenizer, chat template."""

import json
from collections.abc import Sequence
from pathlib import Path

FUNCTIONS = ["sort", "reverse", "join", "split", "count", "find", "index", "strip", "title", "lower", "upper", "format"]
SUMMARIES = {name: f"Return the {name} of a list, in order." for name in FUNCTIONS}
CHAT_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' %}"
    "{%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}"
    "{%- else %}{{- message.content + '<|im_end|>' }}{%- endif %}{{- '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

OFTEN = (0, 3, *range(4, 320, 12))


def write_tiny_model(folder: Path, *, seed: int = 0, ends: Sequence[int] = (0, 3)) -> Path:
    """A Qwen3 of 2 layers × 32 with random weights, and a byte-level BPE tokenizer of 320 tokens.

    ends: tokens that end an answer. Random weights say the two that do it in truth too seldom to come to an end:
    OFTEN is what a sampled answer of some dozen tokens ends with.
    """
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder)
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=320,
            max_position_embeddings=128,
            num_hidden_layers=2,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=3,
            pad_token_id=1,
            dtype="float32",
        )
    )
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=list(ends), pad_token_id=1)
    model.save_pretrained(folder)
    return folder


def write_tiny_gpt2(folder: Path) -> Path:
    """A GPT-2 of the same size: 128 places are learned, and the 129th is an error."""
    import torch
    from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder)
    torch.manual_seed(0)
    sizes = GPT2Config(
        vocab_size=320,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=3,
        pad_token_id=1,
    )
    model = GPT2LMHeadModel(sizes)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=[3], pad_token_id=1)
    model.save_pretrained(folder)
    return folder


def write_tiny_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(name, special=True) for name in ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>")]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SUMMARIES.values(), "What does `list.sort` do?", "user assistant"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "additional_special_tokens": ["<|im_start|>"],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def write_examples(folder: Path) -> Path:
    """An examples artifact about the functions above: two thirds to train on, the rest held out."""
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = FUNCTIONS[:8], FUNCTIONS[8:]
    for names, suffix in ((train, ""), (held_out, "_held_out")):
        sft = [{"id": name, "messages": [question(name), answer(SUMMARIES[name])]} for name in names]
        pairs = [
            {
                "id": name,
                "prompt": [question(name)],
                "chosen": [answer(SUMMARIES[name])],
                "rejected": [answer("No idea.")],
            }
            for name in names
        ]
        _write_lines(folder / f"sft{suffix}.jsonl", sft)
        _write_lines(folder / f"preferences{suffix}.jsonl", pairs)
    items = [
        {
            "id": name,
            "question": question(name)["content"],
            "choices": [SUMMARIES[FUNCTIONS[(place + shift) % len(FUNCTIONS)]] for shift in range(4)],
            "answer": 0,
            "package": "builtins",
        }
        for place, name in enumerate(FUNCTIONS)
    ]
    _write_lines(folder / "benchmark.jsonl", items)
    return folder


def question(name: str) -> dict[str, str]:
    return {"role": "user", "content": f"What does `list.{name}` do?"}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
