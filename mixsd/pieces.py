"""The text of each token of a target, for people who want to see what was trained on."""

from collections.abc import Sequence
from typing import Final

from mixsd.tokens import ChatTokenizer

_CUT: Final = "\ufffd"


def pieces(chat: ChatTokenizer, ids: Sequence[int]) -> list[str]:
    """Return the text of each token; the pieces make up the whole.

    A character that several tokens make up stands at the last of them, and control tokens by name.
    """
    found: list[str] = []
    # A token is read behind the one before it, since what some tokenizers write for a token depends on
    # whether one stands there. `told` is where the piece before began, `whole` where it ended.
    told = whole = 0
    for end in range(1, len(ids) + 1):
        if ids[end - 1] in chat.stop_ids:
            found.append(str(chat.tokenizer.convert_ids_to_tokens(ids[end - 1])))
            continue
        text = chat.decode_raw(ids[told:end])
        is_last = end == len(ids) or ids[end] in chat.stop_ids
        if text.endswith(_CUT) and not is_last:
            found.append("")
            continue
        found.append(text[len(chat.decode_raw(ids[told:whole])) :])
        told, whole = whole, end
    return found
