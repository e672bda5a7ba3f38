"""A worker in a process of its own, for tests that kill it: `python -m tests.worker.loop`."""

import signal
import threading

from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.db.engine import Database, make_engine
from app.jobs.models import GPU_QUEUE
from app.settings import Settings
from worker.supervisor import Supervisor

if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = Settings()
    supervisor = Supervisor(Database(make_engine(settings.database)), settings, stop=stop.is_set)
    while not stop.wait(0.1):
        supervisor.drain(GPU_QUEUE)
