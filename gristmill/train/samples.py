"""What a model writes while it learns: fixed beginnings, always the likeliest next token, so that samples compare.

Greedy and in float32: no random number is drawn, and the samples of two runs with the same bits are the same.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedModel


def samples(
    model: PreTrainedModel, tokenizer: Path, prompts: Sequence[str], *, bos_id: int, eos_id: int, max_tokens: int
) -> dict[str, str]:
    """Prompt → what follows it, at most `max_tokens` tokens or until the model ends the text.

    tokenizer: folder with the tokenizer.json. Empty for a model that does not generate (a masked language model).
    """
    if not model.can_generate():
        return {}
    encoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    was_training = model.training
    model.eval()
    written = {prompt: _continued(model, encoder, prompt, bos_id, eos_id, max_tokens) for prompt in prompts}
    model.train(was_training)
    return written


@torch.no_grad()
def _continued(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: str, bos_id: int, eos_id: int, max_tokens: int
) -> str:
    ids = [bos_id, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    room = model.config.get_text_config().max_position_embeddings - len(ids)
    if room < 1:
        return ""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=min(max_tokens, room), eos_token_id=eos_id, pad_token_id=eos_id
    )
    inputs = torch.tensor([ids], device=model.device)
    with torch.compiler.set_stance("force_eager"):  # each length would be a compilation
        output = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)  # pyright: ignore
    return tokenizer.decode(output[0, len(ids) :].tolist(), skip_special_tokens=True)
