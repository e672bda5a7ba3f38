"""Mixed decoding: one text, continued at every token from one of two conditionals.

Each text has two rows of one batch: its expert and its naive prompt, both followed by the text so
far. A coin that is known beforehand picks the row that decides the next token, and the token is
appended to both rows. So a text has exactly the law of MixSD (arXiv:2605.16865)

    p(y[t] | y[<t]) = lam * p(y[t] | naive, y[<t]) + (1 - lam) * p(y[t] | expert, y[<t])

at one forward pass a token, or less: the choice at a place is a function of the tokens before it
and of a key, so it may be known from another attempt, and guesses of what follows may be judged
many at once. A guess is kept only where it is what would have been chosen, so the text is the
same with any guesses and with none. Knows nothing of answers.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from mixsd.decoding.choice import Candidates, Choice, candidates, choose
from mixsd.decoding.cost import CostModel, FixedCost, least_chance
from mixsd.decoding.drafts import Draft, Drafter
from mixsd.decoding.memo import Node
from mixsd.decoding.rng import is_naive
from mixsd.decoding.rows import Fed, LanguageModel, Rows, Want, common, logits_alone
from mixsd.decoding.slot import Slot
from mixsd.decoding.suited import way_for
from mixsd.decoding.text import Counters, Sampling, Text
from mixsd.errors import OutOfMemoryError
from mixsd.supervision import ENDED, EXPERT, GUARDED, NAIVE

NEAR_TIE: Final = 1e-3
"""Margin under which a token is judged again alone. In float32 a batch moves scores by far less."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """What decides how fast texts are made, and never which.

    Attributes:
        slots: Texts side by side.
        budget: Tokens of one forward pass, about. Bounds memory while prompts are read.
        chunk: Tokens of one row in one forward pass.
        memo: Use what other attempts found out.
        most_drafts: Guesses judged at once, for one text; 0 guesses nothing.
        cost: Of a forward pass, which decides whether guessing pays. Left out, it is measured.
    """

    slots: int = 16
    budget: int = 4096
    chunk: int = 512
    memo: bool = True
    most_drafts: int = 8
    cost: FixedCost | None = None


class Engine:
    """Decodes texts, several side by side. Give it texts with `admit`, then `step` until they end.

    The result of a text depends on its prompts, draw, `lam`, cap, guard and ending alone: neither on what
    else is under way nor on any of the knobs. In float32 a token whose margin is smaller than
    what a batch may change is judged again in a forward pass of its own. Half-precision models
    have no such guarantee.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampling: Sampling,
        *,
        sides: int = 2,
        knobs: Knobs = Knobs(),
    ) -> None:
        self._model = model
        self._sampling = sampling
        self._sides = sides
        self._knobs = knobs
        self._near = NEAR_TIE if model.dtype in {torch.float32, torch.float64} else 0.0
        self._cost = knobs.cost or CostModel()
        self.way = way_for(model)
        # A wrong guess costs the slow ways a row that is read anew.
        guesses = knobs.most_drafts if self.way.name == "flat" else 0
        self._drafter = Drafter(most=guesses, stop_ids=sampling.stop_ids) if guesses else None
        self.counters = Counters()
        self._ended: list[Text] = []
        self._parked: list[Text] = []
        self._open(knobs.slots)

    def _open(self, slots: int) -> None:
        self._rows: Rows = self.way.make(self._model, slots * self._sides)
        self._slots = [
            Slot(tuple(range(place * self._sides, (place + 1) * self._sides))) for place in range(slots)
        ]
        self.counters.slots = slots

    @property
    def free(self) -> int:
        """How many texts may be admitted now."""
        return max(0, self._vacant - len(self._parked))

    @property
    def idle(self) -> bool:
        return not (self._ended or self._parked or any(slot.text for slot in self._slots))

    @property
    def _vacant(self) -> int:
        return sum(slot.text is None for slot in self._slots)

    def admit(self, text: Text) -> None:
        """Take a text into a free slot: the one that holds most of its prompts already."""
        if not self._knobs.memo:
            text.memo = Node()
        self.counters.attempts += 1
        self.counters.prompt_tokens += sum(map(len, text.prompts.sides))
        node = self._recall(text, _node_of(text))
        if text.finish is None:
            self._seat(text, node)

    def cancel(self, text: Text) -> None:
        """Give a text up: nothing more is done for it."""
        self.counters.cancelled += 1
        for slot in self._slots:
            if slot.text is text:
                slot.text = None
        self._parked = [parked for parked in self._parked if parked is not text]
        self._ended = [ended for ended in self._ended if ended is not text]

    def step(self) -> list[Text]:
        """Bring every text on by one forward pass; return those that have ended.

        Raises:
            OutOfMemoryError: Not even one text fits.
        """
        while self._parked and self._vacant:
            text = self._parked.pop(0)
            self._seat(text, _node_of(text))
        live = [slot for slot in self._slots if slot.text is not None]
        if live:
            self._plan(live)
            try:
                self._advance(live)
            except RuntimeError as error:  # of which torch.OutOfMemoryError is one
                if not _is_out_of_memory(error):
                    raise
                self._halve(error)
        ended, self._ended = self._ended, []
        return ended

    def scores_of(self, text: Text, *, naive: bool) -> torch.Tensor:
        """Return the scores at every token of a text that ended, [T, V]: what a side said of it.

        They are at hand while no other text was admitted to the slot, else they are computed.

        Raises:
            OutOfMemoryError: They do not fit.
        """
        try:
            return self._scores_of(text, naive=naive)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            message = f"the scores of a text of {len(text.tokens)} tokens do not fit: make fewer side by side"
            raise OutOfMemoryError(message) from error

    def _scores_of(self, text: Text, *, naive: bool) -> torch.Tensor:
        prompt = text.prompts.sides[naive]
        tokens = [*prompt, *text.tokens[:-1]]
        for slot in self._slots:
            row = slot.rows[naive]
            held = len(self._rows.contents[row])
            if slot.text is None and held >= len(prompt) and self._rows.contents[row] == tokens[:held]:
                if fed := self._rows.feed([Want(row, tokens)], budget=len(tokens), chunk=len(tokens)):
                    self.counters.forwards += 1
                    self.counters.row_tokens += sum(span.stop - span.start for span in fed)
                return self._rows.scores([(row, place) for place in range(len(prompt) - 1, len(tokens))])
        return logits_alone(self._model, tokens, last=len(text.tokens))

    def _seat(self, text: Text, node: Node[Candidates]) -> None:
        wanted = [[*prompt, *text.tokens] for prompt in text.prompts.sides]
        contents = self._rows.contents

        def held(slot: Slot) -> int:
            return sum(common(contents[row], tokens) for row, tokens in zip(slot.rows, wanted, strict=True))

        slot = max((slot for slot in self._slots if slot.text is None), key=held)
        slot.text, slot.node = text, node
        before = self._rows.copied
        for row, tokens in zip(slot.rows, wanted, strict=True):
            self._rows.seat(row, tokens)
        self.counters.copied_tokens += self._rows.copied - before

    def _plan(self, live: Sequence[Slot]) -> None:
        """Decide what is guessed, and which sides are asked at each place."""
        for slot in live:
            slot.draft = self._guesses_for(slot)
            slot.ask(self._coin)
        least = least_chance(
            self._cost,
            self._sides * len(live),
            len(live),
            [guess for slot in live for guess in slot.guesses()],
        )
        for slot in live:
            if self._drafter and slot.draft:
                kept = 0 if least is None else sum(chance >= least for chance in slot.draft.chances)
                slot.keep(kept or self._drafter.explores())

    def _guesses_for(self, slot: Slot) -> Draft:
        if self._drafter is None or not slot.is_fed:
            return Draft()
        text = slot.text_in_it
        here = len(text.tokens)
        picks = [
            self._coin(text, place)
            for place in range(here, min(here + self._knobs.most_drafts, text.cap - 1))
        ]
        hints = [hint] if (hint := slot.node.likeliest(self._knobs.most_drafts)) else []
        return self._drafter.propose(text.tokens, text.prompts.expert, hints, picks)

    def _coin(self, text: Text, position: int) -> bool:
        return self._sides > 1 and is_naive(text.draw, position, lam=text.lam)

    def _advance(self, live: Sequence[Slot]) -> None:
        """Feed the rows, judge the places that were asked, and write the tokens."""
        began = time.monotonic()
        wants = [want for slot in live for want in slot.wants()]
        fed = self._rows.feed(wants, budget=self._knobs.budget, chunk=self._knobs.chunk)
        self._count(live, fed)
        ready = [slot for slot in live if slot.holds_all(self._rows.contents)]
        for slot in live:
            slot.is_fed = slot in ready
            if not slot.is_fed:
                self._trim(slot, guesses=False)
        found = self._judge([place for slot in ready for place in slot.places()])
        if fed:
            self._cost.learn(sum(span.stop - span.start for span in fed), time.monotonic() - began)
        for slot in ready:
            self._write(slot, [{side: next(found) for side in sides} for sides in slot.asked])

    def _judge(self, places: Sequence[tuple[int, int]]) -> Iterator[Candidates]:
        self.counters.head_rows += len(places)
        if not places:
            return iter(())
        return iter(self._candidates(self._rows.scores(places)))

    def _candidates(self, scores_JV: torch.Tensor) -> list[Candidates]:
        how = self._sampling
        return candidates(scores_JV, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p)

    def _count(self, live: Sequence[Slot], fed: Sequence[Fed]) -> None:
        prompts = {
            row: len(prompt)
            for slot in live
            for row, prompt in zip(slot.rows, slot.text_in_it.prompts.sides, strict=True)
        }
        self.counters.forwards += bool(fed)
        for span in fed:
            read = max(0, min(span.stop, prompts[span.row]) - span.start)
            self.counters.prefill_tokens += read
            self.counters.row_tokens += span.stop - span.start - read

    def _write(self, slot: Slot, judged: Sequence[Mapping[bool, Candidates]]) -> None:
        """Write the next token, and those behind it as far as the guesses were right."""
        text, guesses = slot.text_in_it, slot.draft.tokens
        node, right = slot.node, 0
        for ahead, found in enumerate(judged):
            written = self._next(text, node, found)
            if written is None:
                break
            node = self._append(text, node, *written)
            hit = ahead < len(guesses) and written[0] == guesses[ahead]
            right += hit
            if text.finish or not hit:
                break
        if guesses and self._drafter:
            self.counters.drafted += len(guesses)
            self.counters.accepted += right
            self._drafter.learn(slot.draft, right)
        self._trim(slot, guesses=True)
        if text.finish:
            self._ended.append(text)
        else:
            slot.node = self._recall(text, node)
        if text.finish:
            slot.text = None

    def _trim(self, slot: Slot, *, guesses: bool) -> None:
        """Cut rows back to what is certain: after guesses were judged, to all but the last token."""
        text = slot.text_in_it
        for row, prompt in zip(slot.rows, text.prompts.sides, strict=True):
            self._rows.trim(row, len(prompt) + len(text.tokens) - guesses)

    def _recall(self, text: Text, node: Node[Candidates]) -> Node[Candidates]:
        """Write what is known from other attempts; return where that ends."""
        while text.finish is None and (written := self._next(text, node, {})) is not None:
            node = self._append(text, node, *written)
            self.counters.remembered += 1
        if text.finish:
            self._ended.append(text)
        return node

    def _append(self, text: Text, node: Node[Candidates], token_id: int, pick: str) -> Node[Candidates]:
        text.tokens.append(token_id)
        text.picks.append(pick)
        self.counters.tokens += 1
        self.counters.guarded += pick == GUARDED
        self.counters.ended += pick == ENDED
        if token_id in self._sampling.stop_ids:
            text.finish = "stop"
        elif len(text.tokens) >= text.cap:
            text.finish = "cap"
            self.counters.capped += 1
        if text.finish and self._drafter:
            self._drafter.finished(text.tokens)
        child = node.child(token_id)
        child.visits += 1
        if not self._knobs.memo:
            node.forget()
        return child

    def _next(
        self, text: Text, node: Node[Candidates], found: Mapping[bool, Candidates]
    ) -> tuple[int, str] | None:
        """Return the next token and where it comes from; None if a side's scores are not known."""
        for side, judged in found.items():
            node.learn(judged, naive=side)
        drawn = self._drawn(text, node)
        if drawn and text.ending and text.ending.over(text.tokens, drawn[0]):
            return text.ending.end, ENDED
        return drawn

    def _drawn(self, text: Text, node: Node[Candidates]) -> tuple[int, str] | None:
        """Return the token that the coin's side chooses, or the expert where the guard overrules it."""
        naive = self._coin(text, len(text.tokens))
        choice = self._choice(text, node, naive=naive, purpose="noise")
        if choice is None or not (naive and text.guard and text.guard.inside(text.tokens)):
            return None if choice is None else (choice.token_id, NAIVE if naive else EXPERT)
        if not text.guard.leaves(text.tokens, choice.token_id):
            return choice.token_id, NAIVE
        choice = self._choice(text, node, naive=False, purpose="guard")
        return None if choice is None else (choice.token_id, GUARDED)

    def _choice(self, text: Text, node: Node[Candidates], *, naive: bool, purpose: str) -> Choice | None:
        """Return what a side chooses. A near tie is decided by a pass of the row alone."""
        known = node.known(naive=naive)
        if known is None:
            return None
        position = len(text.tokens)
        choice = choose(known, text.draw, position, purpose=purpose)
        if choice.margin < self._near:
            logits_V = logits_alone(self._model, [*text.prompts.sides[naive], *text.tokens])[0]
            alone = self._candidates(logits_V[None])[0]
            choice = choose(alone, text.draw, position, purpose=purpose)
            self.counters.judged_alone += 1
            node.learn(alone.settled(), naive=naive)
        return choice

    def _halve(self, error: BaseException) -> None:
        """Go on with half the slots. Texts keep what they have; their rows are read again."""
        if len(self._slots) == 1:
            raise OutOfMemoryError("not even one text fits into memory: use a smaller model") from error
        self._parked = [*(slot.text for slot in self._slots if slot.text), *self._parked]
        self._rows = self.way.make(self._model, 0)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._open(len(self._slots) // 2)
        self.counters.halvings += 1


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _node_of(text: Text) -> Node[Candidates]:
    node = text.memo
    for token_id in text.tokens:
        node = node.child(token_id)
    return node
