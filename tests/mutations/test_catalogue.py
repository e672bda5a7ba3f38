"""Every mutation can be made, and names tests that there are."""

import ast

import pytest

from tests.mutations.catalogue import MUTATIONS, Mutation
from tests.mutations.gate import ROOT, GateError, mutated


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_mutation_changes_one_place_and_leaves_python(mutation: Mutation) -> None:
    source = (ROOT / mutation.path).read_text()

    after = mutated(mutation, source)

    assert len(after) != len(source)  # or Python might take what it compiled within the same second
    ast.parse(after)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_the_tests_that_are_to_notice_are_there(mutation: Mutation) -> None:
    assert mutation.killers
    for killer in mutation.killers:
        file, _, name = killer.partition("::")
        tests = ast.parse((ROOT / file).read_text()).body
        functions = {each.name for each in tests if isinstance(each, ast.FunctionDef)}
        assert not name or name in functions, killer


def test_names_are_given_once() -> None:
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS)


def test_the_guards_are_those_of_the_documents() -> None:
    table = (ROOT / "docs/protocol.md").read_text().partition("| guard | without it |\n|---|---|\n")[2]

    assert [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()] == [
        each.name for each in MUTATIONS
    ]


def test_a_guard_that_moved_is_no_silent_success() -> None:
    mutation = Mutation("m", "there.py", "guard()", "pass", ("tests/x.py",))

    for source in ("nothing", "guard(); guard()"):
        with pytest.raises(GateError, match="bring the catalogue"):
            mutated(mutation, source)
