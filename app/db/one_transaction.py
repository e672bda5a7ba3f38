"""Several units of work as one."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from app.db.engine import Database


class OneTransaction(Database):
    """A database whose units of work become part of one transaction, which ends with the `with` block.

    It begins with the first of them, so that nothing is held while the caller only computes. Each is
    a savepoint: one that fails leaves what was before. For one thread.
    """

    def __init__(self, database: Database, first: Callable[[Session], None]) -> None:
        """Wrap `database`; `first` is called at the beginning of the transaction. It may raise."""
        self.engine = database.engine
        self.is_sqlite = database.is_sqlite
        self.clock = database.clock
        self._database = database
        self._first = first
        self._stack = ExitStack()
        self._session: Session | None = None

    def session(self) -> Session:
        """Return the session of the transaction, which begins now if it has not."""
        if self._session is None:
            session = self._stack.enter_context(self._database.begin())
            self._first(session)
            self._session = session
        return self._session

    @contextmanager
    def begin(self) -> Generator[Session]:
        session = self.session()
        with session.begin_nested():
            yield session

    @contextmanager
    def read(self) -> Generator[Session]:
        if self._session is not None:
            yield self._session
        else:
            with self._database.read() as session:
                yield session

    @contextmanager
    def glance(self) -> Generator[Session]:
        with self.read() as session:
            yield session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
