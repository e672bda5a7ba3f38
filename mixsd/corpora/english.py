"""Forms of English verbs, for those verbs that the relations of KGFact use."""

import re
from typing import Final

_IRREGULAR: Final = {
    "ban": ("banned", "banned"),
    "bear": ("bore", "borne"),
    "begin": ("began", "begun"),
    "bid": ("bid", "bid"),
    "broadcast": ("broadcast", "broadcast"),
    "cancel": ("cancelled", "cancelled"),
    "control": ("controlled", "controlled"),
    "expel": ("expelled", "expelled"),
    "forbid": ("forbade", "forbidden"),
    "forget": ("forgot", "forgotten"),
    "give": ("gave", "given"),
    "grow": ("grew", "grown"),
    "hold": ("held", "held"),
    "keep": ("kept", "kept"),
    "lead": ("led", "led"),
    "lose": ("lost", "lost"),
    "make": ("made", "made"),
    "patrol": ("patrolled", "patrolled"),
    "pay": ("paid", "paid"),
    "quit": ("quit", "quit"),
    "run": ("ran", "run"),
    "sell": ("sold", "sold"),
    "sleep": ("slept", "slept"),
    "spend": ("spent", "spent"),
    "star": ("starred", "starred"),
    "steal": ("stole", "stolen"),
    "swear": ("swore", "sworn"),
    "take": ("took", "taken"),
    "teach": ("taught", "taught"),
    "travel": ("travelled", "travelled"),
    "underpay": ("underpaid", "underpaid"),
    "win": ("won", "won"),
    "withdraw": ("withdrew", "withdrawn"),
    "worship": ("worshipped", "worshipped"),
    "write": ("wrote", "written"),
}


def third(base: str) -> str:
    """Return the third person of the present.

    Example:
        >>> third("teach"), third("study"), third("live"), third("employ")
        ('teaches', 'studies', 'lives', 'employs')
    """
    if re.search(r"(?:s|x|z|ch|sh|o)$", base):
        return f"{base}es"
    return f"{base[:-1]}ies" if re.search(r"[^aeiou]y$", base) else f"{base}s"


def past(base: str) -> str:
    """Return the simple past.

    Example:
        >>> past("write"), past("study"), past("live"), past("train")
        ('wrote', 'studied', 'lived', 'trained')
    """
    return _IRREGULAR[base][0] if base in _IRREGULAR else _regular(base)


def participle(base: str) -> str:
    """Return the past participle.

    Example:
        >>> participle("write"), participle("ban"), participle("survey")
        ('written', 'banned', 'surveyed')
    """
    return _IRREGULAR[base][1] if base in _IRREGULAR else _regular(base)


def _regular(base: str) -> str:
    if base.endswith("e"):
        return f"{base}d"
    return f"{base[:-1]}ied" if re.search(r"[^aeiou]y$", base) else f"{base}ed"
