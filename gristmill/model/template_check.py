"""A chat template of somebody else's model is a program: before it is used it is run once where it can do no harm.

transformers renders templates in Jinja's immutable sandbox, which refuses what leads out of it, but lets a template
loop and write without end. So a template has a size, and conversations are rendered in a process whose CPU time and
memory have limits (gristmill.text.sandbox). One that behaves on these and misbehaves on others is not found.
"""

import json
from pathlib import Path
from typing import Any

from gristmill.text.sandbox import Failed, KillableWorker, TooCostly

MAX_CHARS = 200_000
"""Templates of open models have up to some 20,000."""
MAX_WRITTEN = 1_000_000
CPU_S = 2.0
_TURNS = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "It is 4."}]
CONVERSATIONS = [_TURNS[:1], _TURNS, [{"role": "system", "content": "Be brief."}, *_TURNS * 8]]


def require_harmless_template(folder: Path) -> None:
    """Raises ValueError for a tokenizer folder whose template breaks out of the sandbox, or takes too much."""
    for template in _templates(folder):
        if len(template) > MAX_CHARS:
            raise ValueError(f"{folder}: its chat template has {len(template):,} characters; at most {MAX_CHARS:,}")
        with KillableWorker((render, ("", CONVERSATIONS[0]))) as worker:
            for conversation in CONVERSATIONS:
                try:
                    worker.run(render, template, conversation, cpu_s=CPU_S)
                except TooCostly as error:
                    raise ValueError(
                        f"{folder}: its chat template takes too much for {len(conversation)} messages ({error}); "
                        "read it before you use this model, and put another into its place"
                    ) from None
                except Failed as error:
                    # a template may refuse a conversation: one that has no system message, or does not alternate
                    if str(error).startswith(("SecurityError", "OverflowError", "_TooLong")):
                        raise ValueError(f"{folder}: its chat template does what none may: {error}") from None


class _TooLong(Exception):
    pass


def render(template: str, conversation: list[dict[str, str]]) -> int:
    """Characters that the template writes, as transformers renders it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    options: dict[str, Any] = {"chat_template": template, "add_generation_prompt": True}
    written: Any = render_jinja_template([conversation], **options, bos_token="", eos_token="", pad_token="")
    if len(written[0][0]) > MAX_WRITTEN:
        raise _TooLong(f"it writes {len(written[0][0]):,} characters; at most {MAX_WRITTEN:,}")
    return len(written[0][0])


def _templates(folder: Path) -> list[str]:
    """All that the folder has: in files of their own, and by name among the tokenizer's settings."""
    found = [path.read_text("utf-8", "replace") for path in sorted(folder.glob("**/*.jinja"))]
    settings = folder / "tokenizer_config.json"
    inside = json.loads(settings.read_bytes()).get("chat_template") if settings.is_file() else None
    named = inside if isinstance(inside, list) else [{"template": inside}]
    return found + [each["template"] for each in named if isinstance(each, dict) and isinstance(each["template"], str)]
