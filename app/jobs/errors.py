"""What can go wrong with a job."""

from collections.abc import Mapping
from typing import ClassVar

from app.errors import ConflictError, InputProblem, InvalidError, NotFoundError, listed
from app.ids import JobId
from app.jobs.states import Action, JobStatus, allowed_actions


class JobNotFoundError(NotFoundError):
    code: ClassVar[str] = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id}")


class VariantNotFoundError(NotFoundError):
    code: ClassVar[str] = "variant_not_found"

    def __init__(self, job_id: JobId, variant: int, count: int) -> None:
        some = f"they are counted from 0 to {count - 1}" if count else "it makes no adapters"
        super().__init__(f"job {job_id} has no variant {variant}: {some}")


class JobStateConflictError(ConflictError):
    code: ClassVar[str] = "illegal_transition"

    def __init__(self, job_id: JobId, current: JobStatus, wanted: Action) -> None:
        super().__init__(f"job {job_id} is {current}: {wanted} is not possible")
        self._allowed = allowed_actions(current)

    def members(self) -> Mapping[str, object]:
        return {"allowed_actions": self._allowed}


class PriorityFixedError(ConflictError):
    """The job does not wait, so its priority decides nothing."""

    code: ClassVar[str] = "priority_fixed"

    def __init__(self, job_id: JobId, current: JobStatus) -> None:
        super().__init__(
            f"job {job_id} is {current}: its priority can be changed while it is queued or paused"
        )
        self._allowed = allowed_actions(current)

    def members(self) -> Mapping[str, object]:
        return {"allowed_actions": self._allowed}


class SuiteNotMeasuredError(InvalidError):
    """The gate is on a suite that the facts have no question of."""

    code: ClassVar[str] = "suite_not_measured"

    def __init__(self, suite: str) -> None:
        self._problem = InputProblem(
            self.code,
            f"not one fact has a question of the suite `{suite}`: give them some, or take another suite",
            pointer="/evaluation/gate",
        )
        super().__init__(f"/evaluation/gate: {self._problem.detail}")

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])


class _ParentError(InvalidError):
    """The job cannot start from the adapter that it names. Says where in the request, and why."""

    def __init__(self, pointer: str, detail: str) -> None:
        self._problem = InputProblem(self.code, detail, pointer=pointer)
        super().__init__(f"{pointer}: {detail}")

    def members(self) -> Mapping[str, object]:
        return listed([self._problem])


class ParentMismatchError(_ParentError):
    """The adapter does not go with what the job asks for beside it."""

    code: ClassVar[str] = "parent_mismatch"


class NothingChangedError(_ParentError):
    """The facts are those that the adapter was taught."""

    code: ClassVar[str] = "nothing_changed"

    def __init__(self, pointer: str, fact_set_id: str) -> None:
        super().__init__(
            pointer,
            f"these are the facts of {fact_set_id}, which the adapter was taught: there is nothing to do. "
            "Send facts that differ, or train without a parent",
        )


class ParentFactsDeletedError(ConflictError):
    """Nothing says any more what the adapter was taught."""

    code: ClassVar[str] = "parent_facts_deleted"

    def __init__(self, adapter_id: str, fact_set_id: str) -> None:
        super().__init__(
            f"the facts {fact_set_id}, which adapter {adapter_id} was taught, were deleted, so nothing says "
            "what has changed since: start from an adapter whose facts are there, or train without a parent"
        )


class LeaseLostError(Exception):
    """The fence of an owner is no longer the job's: somebody else has it, or will. Write nothing."""

    def __init__(self, job_id: JobId, fence: int) -> None:
        super().__init__(job_id, fence)
        self.job_id = job_id
        self.fence = fence

    def __str__(self) -> str:
        return f"job {self.job_id} is no longer held with fence {self.fence}"


class NotEstimableError(InvalidError):
    """The settings of a job are none that a forecast can be made for."""

    code: ClassVar[str] = "not_estimable"
