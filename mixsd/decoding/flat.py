"""Rows of a transformer, all fed in one flat sequence: the fast way, see `mixsd.decoding.attention`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mixsd.decoding.attention import Span, in_rows, layout_of
from mixsd.decoding.rows import Fed, LanguageModel, Want, base_of, common, wide
from mixsd.decoding.store import Store, device_of


class FlatRows:
    """Rows with a shared store of keys and values. See `mixsd.decoding.rows.Rows`."""

    def __init__(self, model: LanguageModel, count: int) -> None:
        base = base_of(model)
        self._model = base
        self._body: nn.Module = getattr(base, base.base_model_prefix)
        self._head: nn.Module = base.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._device = device_of(base)
        self.store = Store(count)
        self.contents: list[list[int]] = [[] for _ in range(count)]
        self.copied = 0

    @torch.inference_mode()
    def seat(self, row: int, tokens: Sequence[int]) -> None:
        wanted = list(tokens)
        kept = common(self.contents[row], wanted)
        shared, donor = max((common(content, wanted), place) for place, content in enumerate(self.contents))
        if shared > kept:
            self._copy(donor, row, kept, shared)
            kept = shared
        self.contents[row] = wanted[:kept]

    def trim(self, row: int, length: int) -> None:
        del self.contents[row][length:]

    @torch.inference_mode()
    def feed(self, wants: Sequence[Want], *, budget: int, chunk: int) -> list[Fed]:
        spans, copies = self._plan(self._affordable(wants, budget, chunk))
        if not spans:
            return []
        contents = self.contents
        self.store.reserve(max(map(len, contents)))
        layout = layout_of(spans, copies, rows=len(contents), device=self._device)
        ids = [token for span in spans for token in span.tokens]
        positions = [span.start + offset for span in spans for offset in range(len(span.tokens))]
        with in_rows(self._model, self.store, layout):
            hidden_1ND = self._body(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=torch.tensor([positions], device=self._device),
                use_cache=False,
            ).last_hidden_state
        self.store.write_hidden(hidden_1ND[0], layout)
        return [Fed(span.row, span.start, span.start + len(span.tokens)) for span in spans]

    @torch.inference_mode()
    def scores(self, places: Sequence[tuple[int, int]]) -> Tensor:
        if self.store.hidden_RSD is None:
            raise RuntimeError("scores of rows that were never fed")
        rows, positions = zip(*places, strict=True)
        return wide(self._head(self.store.hidden_RSD[list(rows), list(positions)]))

    def _affordable(self, wants: Sequence[Want], budget: int, chunk: int) -> list[Want]:
        """Return what is fed now, the first come first."""
        chosen: list[Want] = []
        for want in wants:
            held = len(self.contents[want.row])
            size = min(len(want.tokens) - held, chunk)
            if size > 0 and (size <= budget or not chosen):
                chosen.append(Want(want.row, want.tokens[: held + size]))
                budget -= size
        return chosen

    def _plan(self, wants: Sequence[Want]) -> tuple[list[Span], list[tuple[int, int, int]]]:
        """Decide what is computed, and what is only written for a further row.

        In sorted order, what a row shares with any earlier one it shares with the one before it.
        Rows that are fed a single token are not compared: they seldom share it.
        """
        spans: list[Span] = []
        copies: list[tuple[int, int, int]] = []
        place = 0
        before: Want | None = None
        flat: dict[int, int] = {}
        single = [want for want in wants if len(want.tokens) == len(self.contents[want.row]) + 1]
        longer = [want for want in wants if len(want.tokens) > len(self.contents[want.row]) + 1]
        for want in sorted(longer, key=lambda want: want.tokens):
            start = len(self.contents[want.row])
            shared = common(before.tokens, want.tokens) if before else 0
            known = {position: at for position, at in flat.items() if position < shared}
            resident = min(known, default=shared)
            if before and resident > start:
                self._copy(before.row, want.row, start, resident)
                start = resident
            flat = {position: known[position] for position in range(start, shared) if position in known}
            copies += [(at, want.row, position) for position, at in flat.items()]
            start += len(flat)
            if start < len(want.tokens):
                spans.append(Span(want.row, start, want.tokens[start:]))
                flat |= {start + offset: place + offset for offset in range(len(want.tokens) - start)}
                place += len(want.tokens) - start
            before = want
        spans += [Span(want.row, len(want.tokens) - 1, want.tokens[-1:]) for want in single]
        for want in wants:
            self.contents[want.row] = want.tokens
        return spans, copies

    def _copy(self, source: int, target: int, start: int, stop: int) -> None:
        self.store.copy(source, target, start, stop)
        self.copied += stop - start
