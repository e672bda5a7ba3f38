"""What each type of event says."""

from typing import Final

MEANINGS: Final = {
    "job.created": "it was asked for and stored",
    "job.queued": "it waits for a worker",
    "job.started": "a worker has claimed it; an attempt begins",
    "job.phase_started": "a phase begins",
    "job.phase_completed": "a phase has ended",
    "job.metrics": "something was measured that is measured seldom: the recall, with step, loss and drift",
    "job.checkpoint_saved": "training can go on from here",
    "job.supervision_rejected": "no text for a fact passed the check",
    "job.warning": "something that somebody should know, and that ends nothing",
    "job.attempt_lost": "a worker fell silent, or its process died",
    "job.requeued": "it waits again, for another attempt",
    "job.pausing": "a running job was asked to pause",
    "job.paused": "it has stopped, and its work is kept",
    "job.resumed": "it may go on",
    "job.cancelling": "a running job was asked to end",
    "job.cancelled": "it has ended without an adapter, since somebody wanted that",
    "job.gate_failed": "the adapter lost more than its gate allows",
    "job.succeeded": "it has ended with all that it was to make",
    "job.failed": "it has ended without an adapter; `error` says why",
    "adapter.created": "an adapter can be downloaded",
    "adapter.quarantined": "an adapter is held back by its gate",
    "adapter.released": "somebody released an adapter that was held back",
    "adapter.deleted": "an adapter was deleted",
    "adapter.exported": "an export of an adapter is there, with its parity",
    "evaluation.completed": "base and adapter were measured",
    "webhook.disabled": "a webhook was switched off, by whomever",
}
