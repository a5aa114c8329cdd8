"""`gristmill chat`: a conversation in the terminal, with the champion or with any checkpoint."""

import sys
from collections.abc import Sequence

from flows.cli import workspace
from flows.cli.champion import checkpoint
from gristmill.evaluate.sampling_config import Sampling


def chat(
    address: str | None,
    name: str,
    *,
    prompt: str | None,
    max_new_tokens: int,
    sampling: Sampling,
    stop: Sequence[str],
    seed: int,
) -> int:
    """Answer one prompt, or lines from the terminal until an empty one. Raises ValueError without a champion."""
    address = checkpoint(address, name)
    from gristmill.serve.chat import ChatModel

    model = ChatModel(workspace.store().path(address))
    messages: list[dict[str, str]] = []
    interactive = prompt is None and sys.stdin.isatty()
    if interactive:
        print(f"{address}; an empty line ends the conversation", file=sys.stderr)
    for question in [prompt] if prompt is not None else _questions(interactive):
        messages.append({"role": "user", "content": question})
        answer = ""
        for piece in model.reply(messages, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, seed=seed):
            print(piece, end="", flush=True)
            answer += piece
        print()
        messages.append({"role": "assistant", "content": answer})
    return 0


def _questions(interactive: bool):
    while True:
        try:
            line = input("> ") if interactive else sys.stdin.readline()
        except EOFError:
            return
        if not line.strip():
            return
        yield line.strip()
