"""From texts to token ids and back, by the model's own chat template.

Facts are data: a special token that is written in one stays plain text and never becomes a
control token.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerFast

from mixsd.errors import BadMessagesError, NoChatTemplateError

_END_OF_TURN: Final = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>")
_SENTINEL: Final = "mixsdsentinelxq"
_NUMBERED: Final = re.compile(r"mixsdsentinel(\d+)xq")
_CUT: Final = "\x00"
"""Stands in no fact: readers refuse it."""


def as_kept(text: str) -> str:
    """Return an answer as it is kept: without outer blanks, and without NUL, which databases do not take."""
    return text.replace("\x00", "\ufffd").strip()


class ChatTokenizer:
    """A tokenizer together with its chat template, for single questions without a system prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not tokenizer.chat_template:
            raise NoChatTemplateError("the tokenizer has no chat template: use an instruction-tuned model")
        self.tokenizer = tokenizer
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.content.strip()}
        self._special = sorted(added, key=len, reverse=True)
        self.stop_ids = self._find_stop_ids()
        self.end_of_turn = self._find_end_of_turn()
        pad = tokenizer.pad_token_id
        self.pad_id: int = self.end_of_turn if pad is None else pad

    def prompt_ids(self, user: str) -> list[int]:
        """Return the ids of a chat in which the user has said `user` and the model is to answer."""
        if not any(token in user for token in self._special):
            ids: list[int] = self._render_ids(user)
            return ids
        before, after = self._render_text(_SENTINEL).split(_SENTINEL)
        parts = (self._encode(before), self.plain_ids(user), self._encode(after))
        return [token for part in parts for token in part]

    def conversation_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids of a chat in which all this was said and the model is to answer.

        A single question comes out as `prompt_ids` has it.

        Args:
            messages: Each with a `role` and a `content`.

        Raises:
            BadMessagesError: The template refuses such a conversation.
        """
        said = [message["content"] for message in messages]
        if not any(token in text for token in self._special for text in said):
            ids: list[int] = self._conversation(messages, tokenize=True, return_dict=False)
            return ids
        named = [{**message, "content": f"mixsdsentinel{n}xq"} for n, message in enumerate(messages)]
        parts = _NUMBERED.split(self._conversation(named, tokenize=False))
        read = [
            self.plain_ids(said[int(part)]) if place % 2 else self._encode(part)
            for place, part in enumerate(parts)
        ]
        return [token for part_ids in read for token in part_ids]

    def place_of(self, user: str, end: int) -> int:
        """Return the place, in `prompt_ids(user)`, of the token that holds the last character before `end`.

        Where the text spells out control tokens its beginning is encoded by itself, which may be off
        by one token.

        Args:
            user: What the user says.
            end: A place in it, in characters, at least 1.
        """
        before = self._render_text(_SENTINEL).partition(_SENTINEL)[0]
        if any(token in user for token in self._special):
            ids = self.prompt_ids(user)
            return min(len(self._encode(before)) + len(self.plain_ids(user[:end])), len(ids)) - 1
        text = self._render_text(user)
        read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        limit = max(text.find(user, len(before)), len(before)) + end
        return max(place for place, (start, _) in enumerate(read["offset_mapping"]) if start < limit)

    def plain_ids(self, text: str) -> list[int]:
        """Return the ids of a text in which nothing counts as a control token.

        Where the text spells one out it is cut behind the first character and encoded in parts,
        which serves for every kind of added token.
        """
        for token in self._special:
            text = text.replace(token, f"{token[:1]}{_CUT}{token[1:]}")
        return [ids for part in text.split(_CUT) for ids in self._encode(part)]

    def target_ids(self, text: str) -> list[int]:
        """Return the ids of an answer, with the token that ends the model's turn."""
        return [*self.plain_ids(text), self.end_of_turn]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer, without the token that ended it and without outer blanks.

        A NUL becomes a replacement character: databases keep none in a text.
        """
        kept = ids[:-1] if ids and ids[-1] in self.stop_ids else ids
        return as_kept(str(self.tokenizer.decode(list(kept), skip_special_tokens=True)))

    def decode_raw(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens as it stands, but for special ones."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _render_ids(self, user: str) -> Any:
        return self._template(user, tokenize=True, return_dict=False)

    def _render_text(self, user: str) -> str:
        text: str = self._template(user, tokenize=False)
        return text

    def _template(self, user: str, **options: Any) -> Any:
        return self._conversation([{"role": "user", "content": user}], **options)

    def _conversation(self, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=True,
                enable_thinking=False,
                **options,
            )
        except TemplateError as error:
            raise BadMessagesError(f"the chat template of the model refuses this: {error}") from error

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _find_stop_ids(self) -> frozenset[int]:
        vocabulary = self.tokenizer.get_vocab()
        known = {vocabulary[token] for token in _END_OF_TURN if token in self._special}
        eos = self.tokenizer.eos_token_id
        return frozenset(known if eos is None else known | {eos})

    def _find_end_of_turn(self) -> int:
        """Return what the template puts behind an answer, else the end of a text."""
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _SENTINEL}]
        text = str(self.tokenizer.apply_chat_template(messages, tokenize=False))
        for token in self._encode(text.partition(_SENTINEL)[2]):
            if token in self.stop_ids:
                return token
        if self.tokenizer.eos_token_id is None:
            raise NoChatTemplateError("the tokenizer names no token that ends a text")
        return int(self.tokenizer.eos_token_id)
