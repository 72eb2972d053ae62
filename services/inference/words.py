"""Words and tokens: prompts to ids, ids to text, stop strings to token ids where that is exact.

The engine stops by token id inside its own process, but finds stop strings in the front-end, a step or two later, after
detokenising every token of every sequence. So a stop string of one ASCII character (the newline that ends a step) is
turned into the ids of all tokens that contain it: the same completions, no token wasted and no text made twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrograde.core.policy import Prompt

_MOST_STOP_IDS = 512
_CONTEXT_TOKENS = 4
_CUT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


class Words:
    """The model's tokenizer, as the service uses it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._stop_ids: dict[str, tuple[int, ...] | None] = {}

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of the prompt; a chat is rendered with the model's own template, then continued by `begun`."""
        if not prompt.chat:
            return self._encode(prompt.text + prompt.begun, special=True)
        return self._encode(self._render(prompt.text) + prompt.begun, special=False)

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of text that follows a prompt."""
        return self._encode(text, special=False)

    def _encode(self, text: str, *, special: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        return ids

    def _render(self, text: str) -> str:
        if not self._tokenizer.chat_template:
            raise InvalidInputError("chat: the served model has no chat template; send the prompt as text")
        turns = [{"role": "user", "content": text}]
        rendered: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return rendered

    def decode(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> str:
        """Text of `ids` as it continues the prompt; special tokens are left out, as is a character cut in half."""
        context = list(prompt_ids[-_CONTEXT_TOKENS:])
        before = self._decode(context)
        whole = self._decode(context + list(ids))
        text = whole[len(before) :] if whole.startswith(before) else self._decode(list(ids))
        return text.rstrip(_CUT_CHARACTER)

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def stop_ids(self, stop: Sequence[str]) -> tuple[int, ...] | None:
        """The ids of the tokens that complete one of `stop`, or None when only the text can tell."""
        found: set[int] = set()
        for string in stop:
            if string not in self._stop_ids:
                self._stop_ids[string] = self._tokens_with(string)
            ids = self._stop_ids[string]
            if ids is None:
                return None
            found.update(ids)
        return tuple(sorted(found))

    def _tokens_with(self, string: str) -> tuple[int, ...] | None:
        if len(string) != 1 or not string.isascii() or string == " ":
            return None
        texts = self._tokenizer.batch_decode([[each] for each in range(len(self._tokenizer))], skip_special_tokens=True)
        ids = tuple(index for index, text in enumerate(texts) if string in text)
        return ids if 0 < len(ids) <= _MOST_STOP_IDS else None


def cut_at_stop(text: str, stop: Sequence[str], *, include: bool) -> str:
    """`text` up to the stop string that appears first, which is kept if `include`."""
    ends = [(text.find(string), string) for string in stop if string in text]
    if not ends:
        return text
    start, string = min(ends)
    return text[: start + len(string)] if include else text[:start]
