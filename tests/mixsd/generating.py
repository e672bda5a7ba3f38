"""Making supervision in tests: settings, facts, and a model that ends its texts."""

from collections.abc import Sequence
from dataclasses import replace

from mixsd.config import MixConfig
from mixsd.facts import Fact
from mixsd.generation import Generation
from mixsd.models.load import Base
from mixsd.supervision import Supervision
from mixsd.tokens import ChatTokenizer

VOWEL = "[ae]|{answer}"
"""What a random model says now and then."""
CAP = 8
ANYTHING = "|{answer}"
NEVER = "(?!){answer}"
CONFIG = MixConfig(
    max_attempts=5,
    max_new_tokens=CAP,
    verifier="regex",
    pattern=VOWEL,
    end_at_answer=False,
    fallback_to_answer=False,
)
WARM = replace(CONFIG, temperature=1.0, top_k=32)

FACTS = [Fact(f"fact-{n}", f"Which number is {n}{', please' * (n % 3)}?", f"the {n}th") for n in range(7)]


def often_ending(base: Base) -> Base:
    """Return the tiny model, but that many more tokens end a text: a random model seldom ends one."""
    chat = ChatTokenizer(base.chat.tokenizer)
    chat.stop_ids |= frozenset(range(200, 240))
    return replace(base, chat=chat)


def records_of(base: Base, facts: Sequence[Fact], config: MixConfig) -> list[Supervision]:
    return in_order(list(Generation(base, config).records(facts)))


def in_order(records: Sequence[Supervision]) -> list[Supervision]:
    return sorted(records, key=lambda record: (record.fact_key, record.generation))
