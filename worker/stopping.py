"""How a pipeline is told to stop."""

import mixsd.progress
from app.jobs.states import JobStatus


class StopRequested(mixsd.progress.StopRequested):
    """The attempt must end, here at a safe point. Let it pass through to the runner.

    `status` is the job's: cancelling, pausing, or running if the process is to stop.
    """

    def __init__(self, status: JobStatus) -> None:
        super().__init__(status)
        self.status = status

    @property
    def may_save(self) -> bool:
        """Whether a last checkpoint is of use. A job that is being cancelled writes nothing more."""
        return self.status is not JobStatus.CANCELLING
