"""Workers without work: they claim, beat and finish by the statements of real ones, as threads."""

import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import create_engine, func, select

from app.db.engine import Database
from app.jobs import leases
from app.jobs.models import Job
from app.jobs.states import JobStatus
from benchmarks.load.arriving import p99
from benchmarks.load.rows import QUEUE
from worker.supervisor import VERSION

_CONNECTIONS: Final = 32
"""That all share: a server takes a hundred by default, and others need some."""

_LEASE: Final = timedelta(minutes=10)


@dataclass
class Worked:
    """What a crowd of workers did."""

    claimed: list[tuple[str, int]] = field(default_factory=list)
    claim_seconds: list[float] = field(default_factory=list)
    finished: int = 0
    refused: int = 0

    def figures(self, database: Database, seconds: float) -> dict[str, Any]:
        with database.read() as session:
            statement = select(func.count()).where(
                Job.queue == QUEUE, Job.status == JobStatus.SUCCEEDED, Job.id.like("job_wait%")
            )
            succeeded = session.scalars(statement).one()
        often = Counter(job_id for job_id, _ in self.claimed)
        return {
            "claims": len(self.claimed),
            "double_claims": sum(count - 1 for count in often.values()),
            "refused": self.refused,
            "lost": len(often) - succeeded,
            "cycles_per_s": round(self.finished / seconds, 1),
            "claim_p50_ms": round(statistics.median(self.claim_seconds) * 1000, 1),
            "claim_p99_ms": round(p99(self.claim_seconds) * 1000, 1),
        }


class Crowd:
    """`count` workers, until `stop`."""

    def __init__(self, url: str, count: int) -> None:
        self._engine = create_engine(url, pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=300)
        self._database = Database(self._engine)
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._worked = Worked()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(count)]

    def start(self) -> float:
        for thread in self._threads:
            thread.start()
        return time.perf_counter()

    def stop(self, begun: float) -> dict[str, Any]:
        """Have each finish what it has, and return figures."""
        self._done.set()
        for thread in self._threads:
            thread.join()
        figures = self._worked.figures(self._database, time.perf_counter() - begun)
        self._engine.dispose()
        return figures

    def _work(self, number: int) -> None:
        database = self._database
        while not self._done.is_set():
            with database.begin() as session:
                session.connection()  # there are fewer than workers, and the wait for one is not the claim's
                begun = time.perf_counter()
                claim = leases.claim(
                    session,
                    queue=QUEUE,
                    owner=f"bench:{number}",
                    version=VERSION,
                    now=database.now(session),
                    lease=_LEASE,
                )
            if claim is None:
                return
            took = time.perf_counter() - begun
            with database.begin() as session:
                now = database.now(session)
                held = leases.beat(session, claim.job_id, claim.fence, now=now, lease=_LEASE)
            with database.begin() as session:
                published = leases.publish(session, claim.job_id, claim.fence, now=database.now(session))
            with self._lock:
                self._worked.claimed.append((claim.job_id, claim.fence))
                self._worked.claim_seconds.append(took)
                self._worked.finished += published
                self._worked.refused += held is None or not published
