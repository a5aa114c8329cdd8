"""The text of tokens as they come: whole characters only, and nothing that may turn out to begin a stop string."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"


class TextStream:
    """One answer's text. `stopped_by` is the stop string that ended it, or None."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        """stop: texts that end the answer and are no part of it, wherever tokens begin and end. Raises ValueError for
        an empty one, and for a special token, which no text shows."""
        for string in stop:
            if not string or string in tokenizer.all_special_tokens:
                raise ValueError(f"stop string {string!r} never shows in an answer's text; name some other text")
        self.stopped_by: str | None = None
        self._tokenizer, self._stop = tokenizer, stop
        self._ids: list[int] = []
        self._released = 0

    def feed(self, token: int) -> str:
        """The text that this token makes certain; "" while a character or a possible stop string is not whole."""
        self._ids.append(token)
        # an incomplete character decodes to replacement characters until its last byte is there
        text = self._text().rstrip(REPLACEMENT)
        places = [(text.find(string, self._released), string) for string in self._stop]
        # the one that is whole first: which that is does not depend on where tokens begin
        found = min(((place + len(string), place, string) for place, string in places if place >= 0), default=None)
        if found:
            _, end, self.stopped_by = found
        else:
            end = len(text) - max((_begun(text, string) for string in self._stop), default=0)
        return self._release(text, end)

    def ends_with(self, token: int) -> bool:
        """Feed a token and say whether a stop string is whole."""
        self.feed(token)
        return self.stopped_by is not None

    def rest(self) -> str:
        """What was held back, when the answer ends without a stop string."""
        text = self._text()
        return "" if self.stopped_by else self._release(text, len(text))

    def _text(self) -> str:
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        assert isinstance(text, str)
        return text

    def _release(self, text: str, end: int) -> str:
        start, self._released = self._released, max(self._released, end)
        return text[start:end]


def _begun(text: str, string: str) -> int:
    """Length of the longest end of the text that begins the string."""
    return next((size for size in range(len(string) - 1, 0, -1) if text.endswith(string[:size])), 0)
