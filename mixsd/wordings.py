"""One text for all wordings of a question.

A text that is made for each wording by itself says something else each time, and more than the
fact: asked to tell about its subject, a small model makes the rest up. The text that was made for
the question is short and holds. Trained on behind every wording, it also has the model say the
same wherever the subject comes up, which is what carries over to wordings that it never saw.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from mixsd.config import MixConfig
from mixsd.decoding.text import Prompts
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.prompts import STYLES, PromptStyle
from mixsd.records import nats_per_token, prompt_sha256
from mixsd.supervision import Supervision
from mixsd.units import units_of


class SharedTexts:
    """Stands between whoever makes the texts of questions and whoever wants those of all wordings.

    Attributes:
        facts: What texts are to be made of: the facts without their other wordings.
        done: Ids of those texts that are not needed any more, since all wordings have theirs.
    """

    def __init__(
        self,
        base: Base,
        facts: Sequence[Fact],
        config: MixConfig,
        *,
        done: Collection[tuple[str, int]],
        on_records: Callable[[Sequence[Supervision]], None],
    ) -> None:
        """Prepare to share texts.

        Args:
            base: The frozen model.
            facts: With all their wordings.
            config: How texts are made.
            done: (fact key, generation) of records that exist already.
            on_records: Given the records of all wordings of a question at once.
        """
        self._base = base
        self._style = STYLES[config.prompt_style]
        self._generations = config.generations
        self._by_key = {fact.key: fact for fact in facts}
        self._had = frozenset(done)
        self._on_records = on_records
        self.facts = [replace(fact, train_paraphrases=()) for fact in facts]
        self.done = {
            unit.id
            for unit in units_of(self.facts, self._generations)
            if all(each in self._had for each, _ in self._wordings(*unit.id))
        }

    def hand_on(self, made: Sequence[Supervision]) -> None:
        """Hand on texts of questions, each with its copies behind the other wordings."""
        self._on_records([each for record in made for each in self._shared(record)])

    def _shared(self, record: Supervision) -> Iterator[Supervision]:
        """Yield the records of a text that are missing. They are a function of it."""
        for each, question in self._wordings(record.fact_key, record.generation):
            if each not in self._had:
                is_own = each[1] == record.generation
                yield record if is_own else worded(self._base, record, each[1], question, self._style)

    def _wordings(self, key: str, generation: int) -> Iterator[tuple[tuple[str, int], str]]:
        """Yield the ids that a text of a question stands for, as `units_of` counts them, with wordings."""
        fact = self._by_key[key]
        for number, question in enumerate((fact.question, *fact.train_paraphrases)):
            yield (key, number * self._generations + generation), question


def worded(
    base: Base, record: Supervision, generation: int, question: str, style: PromptStyle
) -> Supervision:
    """Return the record of a text behind another wording than that which it was made for.

    Its loss is that behind this wording. It took no attempt, and the expert was not asked.
    """
    prompt = tuple(base.chat.prompt_ids(style.naive_prompt(question)))
    copied = replace(
        record,
        generation=generation,
        question=question,
        attempts=0,
        prompt_sha256=prompt_sha256(Prompts(expert=(), naive=prompt)),
        nats_per_token=None,
        expert_nats_per_token=None,
        agreement=None,
    )
    if not record.trainable:
        return copied
    if len(prompt) + len(record.token_ids) > base.max_tokens:
        return replace(
            copied,
            text="",
            token_ids=(),
            picks="",
            finish_reason="prompt_too_long",
            verified=False,
            method="mixsd",
            reason="prompt_too_long",
        )
    return replace(copied, nats_per_token=nats_per_token(base, prompt, record.token_ids))
