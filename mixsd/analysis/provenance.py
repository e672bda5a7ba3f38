"""Where each token of a fact's texts came from, and what it costs the base model."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.losses import token_nats
from mixsd.analysis.nats import PICKS, TAU, example_of
from mixsd.analysis.results import Result
from mixsd.analysis.runs import Run, read_records
from mixsd.models.load import Base
from mixsd.pieces import pieces
from mixsd.supervision import Supervision
from mixsd.tokens import ChatTokenizer

PREFIX: Final = "fact-"
_SUGGESTED: Final = 3
_DEFINITION: Final = (
    "Each token with the conditional that it came from, and its loss in nats under the base model that is "
    "asked the bare question. naive: the model that is asked just that; expert: the one that is shown the "
    "answer; guarded: the expert, since the answer guard overruled a naive token; ended: the end that was "
    "set behind the sentence with the answer; opened: words that were given to begin with; no pick: of a "
    "text that the model did not write. Under the expert prompt the mean alone is stored, and only where "
    "the run asked for it (score_both)."
)


def analyse_fact(base: Base, runs: Sequence[Run], key: str, *, tau: float = TAU) -> Result:
    """Return the report of a fact: all its texts, of all runs.

    Args:
        base: Their base model.
        runs: Those without supervision are told in the notes.
        key: Of the fact.
        tau: Nats above which a token counts as unlikely.

    Raises:
        NotAnalysableError: No run has a text of such a fact.
    """
    texts = [text for run in runs if run.records is not None for text in _texts(base, run, key)]
    if not texts:
        raise NotAnalysableError(_absent(runs, key))
    body = {
        "title": f"Where the tokens of {key} came from",
        "definition": _DEFINITION,
        "notes": [f"no supervision is stored for {run.name}" for run in runs if run.records is None],
        "key": key,
        "tau": tau,
        "texts": texts,
    }
    header = ("run", "text", "place", "token_id", "token", "pick", "nats")
    return Result(PREFIX + key, body, header, list(_rows(texts)))


def _texts(base: Base, run: Run, key: str) -> Iterator[dict[str, Any]]:
    """Yield the texts of a fact; records without tokens are those that were never written."""
    if run.records is None:
        return
    records = [record for record in read_records(run.records) if record.fact_key == key]
    examples = [(record, example_of(base, run, record)) for record in records if record.token_ids]
    for record, losses in token_nats(base, examples):
        yield _described(base.chat, run, record, losses)


def _described(chat: ChatTokenizer, run: Run, record: Supervision, losses: Sequence[float]) -> dict[str, Any]:
    picks = [PICKS.get(letter) for letter in record.picks] or [None] * len(losses)
    told = zip(record.token_ids, pieces(chat, record.token_ids), picks, losses, strict=True)
    return {
        "run": run.name,
        "generation": record.generation,
        "question": record.question,
        "text": record.text,
        "method": record.method,
        "lam": record.lam,
        "attempts": record.attempts,
        "trained_on": record.trainable,
        "reason": record.reason,
        "nats_per_token": sum(losses) / len(losses),
        "expert_nats_per_token": record.expert_nats_per_token,
        "tokens": [
            {"id": token, "text": piece, "pick": pick, "nats": loss} for token, piece, pick, loss in told
        ],
    }


def _absent(runs: Sequence[Run], key: str) -> str:
    paths = [run.records for run in runs if run.records is not None]
    if not paths:
        return "no run has its supervision stored: a comparison keeps it with mixsd compare --keep"
    keys = {record.fact_key for path in paths for record in read_records(path)}
    near = difflib.get_close_matches(key, sorted(keys), n=_SUGGESTED)
    hint = f"; close to it: {', '.join(near)}" if near else ""
    return f"no text of a fact {key!r} is stored: there are {len(keys)} facts{hint}"


def _rows(texts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each token. Its text is ASCII in quotes: spreadsheets compute what begins with =."""
    for number, text in enumerate(texts):
        for place, token in enumerate(text["tokens"]):
            yield (
                text["run"],
                number,
                place,
                token["id"],
                ascii(token["text"]),
                token["pick"],
                token["nats"],
            )
