"""`gristmill chat`: a conversation in the terminal, with the champion or with any checkpoint."""

import sys

from flows.cli import workspace
from flows.cli.scope import use_own_servers


def chat(
    address: str | None, name: str, *, prompt: str | None, max_new_tokens: int, temperature: float, seed: int
) -> int:
    """Answer one prompt, or lines from the terminal until an empty one. Raises ValueError without a champion."""
    address = address or _champion(name)
    workspace.store().load(address)
    from gristmill.serve.chat import ChatModel

    model = ChatModel(workspace.store().path(address))
    messages: list[dict[str, str]] = []
    interactive = prompt is None and sys.stdin.isatty()
    if interactive:
        print(f"{address}; an empty line ends the conversation", file=sys.stderr)
    for question in [prompt] if prompt is not None else _questions(interactive):
        messages.append({"role": "user", "content": question})
        answer = ""
        for piece in model.reply(messages, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed):
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


def _champion(name: str) -> str:
    from tasks.tracking import version_by_alias

    use_own_servers()
    champion = version_by_alias(name, "champion")
    if champion is None:
        raise ValueError(
            f"{name} has no champion yet; name a checkpoint (`gristmill artifacts list`) or run the pipeline"
        )
    return champion["tags"]["gristmill.artifact"]
