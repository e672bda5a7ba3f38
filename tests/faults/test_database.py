"""A Postgres that restarts, is away, freezes, loses an answer, or finds transactions in each other's way."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, make_url

from app import log
from app.db.engine import REST, Database, make_engine
from app.ids import JobId
from app.jobs import leases
from app.jobs.models import WorkSpan
from app.jobs.states import JobStatus, Phase
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode
from app.storage import LocalStore
from tests.faults.conftest import MISBEHAVING, FaultRig
from tests.faults.misbehaving import conflicts
from tests.faults.proxy import Proxy
from tests.servers import OwnPostgres
from tests.worker.rig import is_alive
from worker import runner
from worker.failures import Exit

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
"""Of other fixtures: the rigs here have a server of their own."""


@pytest.fixture(autouse=True)
def _left_as_it_was(own_server: OwnPostgres) -> Iterator[None]:
    yield
    own_server.signal(signal.SIGCONT)
    if not own_server.is_running():
        own_server.start()


def check_owners(rig: FaultRig, job_id: JobId) -> None:
    """See that one owner followed the other, and none was there beside another."""
    spans = sorted(rig.rows(WorkSpan, job_id), key=lambda span: span.fence)
    assert all(span.ended_at for span in spans)
    for earlier, later in itertools.pairwise(spans):
        assert earlier.ended_at <= later.started_at


def test_a_server_that_restarts_again_and_again_costs_no_job(
    own_rig: FaultRig, own_server: OwnPostgres
) -> None:
    jobs = [own_rig.submit(pace=0.1) for _ in range(2)]

    with own_rig.sweeping(), own_rig.worker():
        own_rig.until_phase(jobs[0], Phase.GENERATING)
        for _ in range(4):
            own_server.stop()
            own_server.start()
            time.sleep(0.5)
        for job_id in jobs:
            own_rig.until_status(job_id, JobStatus.SUCCEEDED)

    for job_id in jobs:
        own_rig.check_result(job_id)
        check_owners(own_rig, job_id)


def test_the_api_says_that_the_database_is_away_and_is_back_with_it(
    own_rig: FaultRig, own_server: OwnPostgres
) -> None:
    settings = own_rig.settings.model_copy(update={"auth": AuthMode.OFF})
    log.configure(json=False)
    api = build_app(own_rig.database, LocalStore(settings.artifact_dir), NullDispatcher(), settings)
    client = TestClient(api, raise_server_exceptions=False)
    assert client.get("/jobs").status_code == 200

    own_server.stop()
    answers = [client.get("/jobs") for _ in range(3)]
    own_server.start()
    time.sleep(REST + 0.1)

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert [client.get("/jobs").status_code for _ in range(10)] == [200] * 10


@pytest.mark.parametrize("trouble", ["down", "frozen"])
def test_owners_stop_before_their_lease_is_over_while_the_database_is(
    own_rig: FaultRig, own_server: OwnPostgres, trouble: str
) -> None:
    own_rig.settings = own_rig.settings.model_copy(update={"lease": timedelta(seconds=5)})
    job_id = own_rig.submit(pace=0.3, stays_in=Phase.TRAINING)
    lease = own_rig.settings.lease.total_seconds()

    with own_rig.sweeping(), own_rig.worker() as worker:
        own_rig.until_phase(job_id, Phase.TRAINING)
        its_runner = own_rig.until_runner(worker.pid)
        own_rig.relabel(job_id, pace=0.3)
        if trouble == "down":
            own_server.stop()
        else:
            own_server.signal(signal.SIGSTOP)
        own_rig.until(lambda: not is_alive(its_runner))
        time.sleep(2 * lease)  # longer than any lease that was given
        if trouble == "down":
            own_server.start()
        own_server.signal(signal.SIGCONT)
        own_rig.until_status(job_id, JobStatus.SUCCEEDED)
        assert worker.poll() is None

    own_rig.check_result(job_id)
    check_owners(own_rig, job_id)


def test_a_call_to_a_frozen_server_comes_back(own_rig: FaultRig, own_server: OwnPostgres) -> None:
    done = threading.Event()
    connection = own_rig.database.engine.connect()

    def ask() -> None:
        try:
            connection.exec_driver_sql("SELECT 1")
        except Exception:  # noqa: BLE001  whatever it is
            done.set()

    own_server.signal(signal.SIGSTOP)
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()

    assert done.wait(300)
    own_server.signal(signal.SIGCONT)
    thread.join()
    connection.close()


@pytest.fixture
def proxied(own_rig: FaultRig) -> Iterator[tuple[FaultRig, Proxy, Engine]]:
    """The rig whose connections go through a proxy."""
    address = make_url(own_rig.settings.database_url)
    with Proxy(address.host or "127.0.0.1", address.port or 5432) as proxy:
        url = address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        engine = make_engine(url)
        through = FaultRig(Database(engine), own_rig.settings.model_copy(update={"database_url": url}))
        yield through, proxy, engine
        engine.dispose()


def test_a_publication_whose_answer_is_lost_is_made_once_and_told_as_a_success(
    proxied: tuple[FaultRig, Proxy, Engine],
) -> None:
    rig, proxy, _ = proxied
    job_id = rig.submit()
    with rig.database.begin() as session:
        now, lease = rig.database.now(session), timedelta(minutes=5)
        claim = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=lease)
    assert claim is not None
    proxy.swallow_after, proxy.swallow_answer_to = b"job.succeeded", b"COMMIT"

    pipeline = MISBEHAVING["MIXSD_PIPELINE"]
    listening = signal.getsignal(signal.SIGTERM)
    try:
        code = runner.attempt(rig.database, claim, rig.settings, pipeline=pipeline)
    finally:
        signal.signal(signal.SIGTERM, listening)

    assert (code, proxy.cuts) == (Exit.PUBLISHED, 1)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED
    assert rig.events(job_id).count("job.succeeded") == 1
    rig.check_result(job_id)


def test_connections_that_break_off_all_the_time_cost_no_job(
    proxied: tuple[FaultRig, Proxy, Engine], own_rig: FaultRig
) -> None:
    rig, proxy, _ = proxied
    job_id = own_rig.submit(pace=0.1)

    with rig.sweeping(), rig.working():
        for _ in range(8):
            time.sleep(0.4)
            proxy.reset()
        own_rig.until_status(job_id, JobStatus.SUCCEEDED)  # past the proxy: we look, and are not looked at

    own_rig.check_result(job_id)
    check_owners(own_rig, job_id)


def test_conflicts_in_two_of_a_hundred_statements_cost_no_job(own_rig: FaultRig) -> None:
    jobs = [own_rig.submit(does="meet conflicts") for _ in range(3)]
    conflicts(own_rig.database.engine, seed=5)

    def all_ended() -> bool:
        return all(own_rig.job(job_id).terminal for job_id in jobs)

    with own_rig.sweeping(), own_rig.working(count=2):
        own_rig.until(lambda: _quietly(all_ended))

    own_rig.database = Database(make_engine(own_rig.settings.database_url))
    for job_id in jobs:
        assert own_rig.job(job_id).status is JobStatus.SUCCEEDED
        own_rig.check_result(job_id)
        check_owners(own_rig, job_id)
    own_rig.database.engine.dispose()


def _quietly(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except Exception:  # noqa: BLE001  the conflicts are in our way too
        return False
