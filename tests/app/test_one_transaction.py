"""Units of work that become one, on both databases."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.engine import Database
from app.db.one_transaction import OneTransaction
from app.ids import ProjectId
from app.projects.models import Project
from tests.factories import NOW


@pytest.fixture(autouse=True)
def nothing_stays(database: Database) -> Iterator[None]:
    yield
    with database.begin() as session:
        for row in session.scalars(select(Project).where(Project.id.in_(MADE))):
            session.delete(row)


MADE = ("prj_a", "prj_b", "prj_c")


def add(database: Database, name: str, *, fails: bool = False) -> None:
    with database.begin() as session:
        session.add(Project(id=ProjectId(f"prj_{name}"), name=name, created_at=NOW))
        session.flush()
        if fails:
            raise ZeroDivisionError


def made(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(Project.id).where(Project.id.in_(MADE))))


def ignored(_: Session) -> None:
    pass


def test_units_of_work_are_seen_by_others_when_all_of_them_are_done(database: Database) -> None:
    begun: list[Session] = []

    with OneTransaction(database, begun.append) as one:
        assert made(one) == []
        assert begun == []
        add(one, "a")
        add(one, "b")
        assert made(one) == ["prj_a", "prj_b"]
        assert made(database) == []

    assert made(database) == ["prj_a", "prj_b"]
    assert len(begun) == 1


def test_if_the_block_fails_nothing_is_left(database: Database) -> None:
    def work() -> None:
        with OneTransaction(database, ignored) as one:
            add(one, "a")
            add(one, "b", fails=True)

    with pytest.raises(ZeroDivisionError):
        work()

    assert made(database) == []


def test_a_unit_that_fails_leaves_those_before_and_after(database: Database) -> None:
    with OneTransaction(database, ignored) as one:
        add(one, "a")
        with pytest.raises(ZeroDivisionError):
            add(one, "b", fails=True)
        add(one, "c")

    assert made(database) == ["prj_a", "prj_c"]


def test_who_may_not_begin_holds_nothing(database: Database) -> None:
    def refuse(_: Session) -> None:
        raise PermissionError

    with pytest.raises(PermissionError), OneTransaction(database, refuse) as one:
        add(one, "a")

    add(database, "b")
    assert made(database) == ["prj_b"]
