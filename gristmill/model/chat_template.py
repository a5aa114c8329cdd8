"""A chat template that marks what the assistant says, from one that does not.

Fine-tuning learns from what stands between `{% generation %}` and `{% endgeneration %}`
(gristmill.evaluate.chat_format); templates of open models seldom have the markers. Where a template writes each message
in one expression, as ChatML templates do, they can be put around it; the result is kept only if it writes the same text
for every probe.
"""

import re
from typing import Any

_ROLE = r"message(?:\.role|\[\s*['\"]role['\"]\s*\])"
_CONTENT = r"message(?:\.content|\[\s*['\"]content['\"]\s*\])"
# {{ START + role + '\n' + content + END … }}: one expression that writes a whole message
_MESSAGE = re.compile(
    r"\{\{-?\s*(?P<start>(?:'[^']*'|\"[^\"]*\")\s*\+\s*" + _ROLE + r"\s*\+\s*(?:'[^']*'|\"[^\"]*\"))\s*\+\s*"
    r"(?P<content>" + _CONTENT + r"(?:\s*\|\s*trim)?)\s*\+\s*(?P<end>'[^']*'|\"[^\"]*\")"
    r"(?P<rest>(?:\s*\+\s*(?:'[^']*'|\"[^\"]*\"))*)\s*-?\}\}"
)
_USER, _ANSWER = {"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "It is\n4."}
_PROBES = (
    [_USER],
    [_USER, _ANSWER],
    [{"role": "system", "content": "Be brief."}, _USER, _ANSWER, _USER, _ANSWER],
)


def with_markers(template: str, special: dict[str, str]) -> str | None:
    """The template with markers; None where it has them, or where they cannot be put without changing a text.

    special: names and texts of special tokens that the template may use, such as `bos_token`.
    """
    found = _MESSAGE.search(template)
    if "generation %}" in template or found is None:
        return None
    start, content, end, rest = (found[name] for name in ("start", "content", "end", "rest"))
    after = rest.strip().removeprefix("+").strip()
    marked = (
        "{%- if message['role'] == 'assistant' -%}"
        f"{{{{- {start} -}}}}{{%- generation -%}}{{{{- {content} + {end} -}}}}{{%- endgeneration -%}}"
        + (f"{{{{- {after} -}}}}" if after else "")
        + f"{{%- else -%}}{{{{- {start} + {content} + {end}{rest} -}}}}{{%- endif -%}}"
    )
    made = template[: found.start()] + marked + template[found.end() :]
    same = all(
        _text(template, probe, special, prompt) == _text(made, probe, special, prompt)
        for probe in _PROBES
        for prompt in (False, True)
    )
    return made if same else None


def _text(template: str, messages: list[dict[str, str]], special: dict[str, str], prompt: bool) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    options: dict[str, Any] = {"chat_template": template, "add_generation_prompt": prompt, **special}
    written: Any = render_jinja_template([messages], **options)
    return written[0][0]
