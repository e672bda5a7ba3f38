"""Every way that one job can go with two workers, some of whom are zombies: a breadth-first search.

A world is the job, what each worker believes to hold, and a record of what has happened, which no
statement can see. Fences are renamed to their ranks, and workers are put in order, so that worlds
which differ in nothing that matters are one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.model import protocol
from tests.model.protocol import (
    CANCELLED,
    CANCELLING,
    OWNED,
    PAUSED,
    PAUSING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    TERMINAL,
    Job,
    Mutation,
    Rules,
)

WORKERS: Final = 2
PAUSES: Final = 2
RETRIES: Final = 1
ATTEMPTS: Final = 3
CRASHES: Final = 2
"""One less than the attempts, or the two limits could not be told apart."""


def rules(broken: Mutation | None = None) -> Rules:
    """The rules with limits that a search can reach, as they are or with one left out."""
    return Rules(crash_limit=CRASHES, more_attempts=ATTEMPTS, broken=broken)


class Held(NamedTuple):
    """What a worker believes to hold, and whether it is the owner in truth."""

    fence: int
    is_owner: bool
    has_draft: bool = False
    """A checkpoint of its own lies on the disk, and is not registered."""


class World(NamedTuple):
    job: Job = Job(limit=ATTEMPTS)
    workers: tuple[Held, ...] = ()
    """Those that believe to hold the job; the others are idle."""
    is_cancelled: bool = False
    """A cancel was answered with yes, and no retry since."""
    is_paused: bool = False
    """The same of a pause, and no resume since."""
    published: int = 0
    crashes: int = 0
    """Attempts lost since the last progress."""
    checkpoint: bool | None = None
    """Whether the registered checkpoint is one of the owner of its time; None without any."""
    draft: bool = False
    """A checkpoint that was never registered outlived its worker."""
    pauses: int = PAUSES
    retries: int = RETRIES


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and the shortest way there."""

    promise: str
    trace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """How much there was to search, and the first violation, if there is one."""

    states: int
    moves: int
    labels: frozenset[str]
    """The kinds of moves there were."""
    violation: Violation | None = None


class Broken(Exception):  # noqa: N818  it is no error of the search
    """A move broke a promise."""


def search(within: Rules, first: World = World()) -> Found:  # noqa: B008  it never changes
    """Look at every world that can be reached, the nearest first, until a promise is broken."""
    worlds, came_from = [first], [(-1, "")]
    places = {first: 0}
    before: list[list[int]] = [[]]
    moves, labels = 0, set[str]()
    for place, world in enumerate(worlds):  # it grows meanwhile
        try:
            for label, after in _moves(world, within):
                moves += 1
                labels.add(label)
                _check(world, after, label)
                after = _in_order(after)  # noqa: PLW2901
                found = places.get(after)
                if found is None:
                    found = places[after] = len(worlds)
                    worlds.append(after)
                    came_from.append((place, label))
                    before.append([])
                if label not in _NOT_TO_BE_RELIED_ON:
                    before[found].append(place)
        except Broken as broken:
            promise, label = broken.args
            violation = Violation(promise, (*_way(came_from, place), label))
            return Found(len(worlds), moves, frozenset(labels), violation)
    stuck = _dead_end(worlds, before)
    dead_end = None if stuck is None else Violation("no dead end", tuple(_way(came_from, stuck)))
    return Found(len(worlds), moves, frozenset(labels), dead_end)


_NOT_TO_BE_RELIED_ON: Final = {"cancel", "pause", "retry"}
"""Moves without which every job must be able to end."""


def _dead_end(worlds: list[World], before: list[list[int]]) -> int | None:
    """Return the nearest world from which no terminal status can be reached."""
    ends = [place for place, world in enumerate(worlds) if world.job.status in TERMINAL]
    seen = set(ends)
    while ends:
        for place in before[ends.pop()]:
            if place not in seen:
                seen.add(place)
                ends.append(place)
    return next((place for place in range(len(worlds)) if place not in seen), None)


def _way(came_from: list[tuple[int, str]], place: int) -> list[str]:
    labels = []
    while place > 0:
        place, label = came_from[place]
        labels.append(label)
    return labels[::-1]


def _in_order(world: World) -> World:
    fences = sorted({world.job.fence, *(held.fence for held in world.workers)})
    rank = {fence: place for place, fence in enumerate(fences)}
    workers = [held._replace(fence=rank[held.fence]) for held in world.workers]
    job = world.job._replace(fence=rank[world.job.fence])
    return world._replace(job=job, workers=tuple(sorted(workers)))


Move = tuple[str, World]


def _moves(world: World, rules: Rules) -> Iterator[Move]:
    yield from _of_users(world, rules)
    job = world.job
    if (after := protocol.expire(job)) is not None:
        yield "expire", world._replace(job=after)
    if (after := protocol.reap(job, rules)) is not None:
        yield "reap", _lost(world, after)
    if len(world.workers) < WORKERS and (after := protocol.claim(job, rules)) is not None:
        yield "claim", _claimed(world, after, rules)
    for place, held in enumerate(world.workers):
        who = "owner" if held.is_owner else "zombie"
        for label, then in _of_worker(world, place, held, rules):
            yield f"{who}: {label}", then


def _of_users(world: World, rules: Rules) -> Iterator[Move]:
    job = world.job
    if (after := protocol.cancel(job)) is not None:
        yield "cancel", world._replace(job=after, is_cancelled=True)
    if world.pauses and (after := protocol.pause(job)) is not None:
        yield "pause", world._replace(job=after, is_paused=True, pauses=world.pauses - 1)
    if (after := protocol.resume(job)) is not None:
        yield "resume", world._replace(job=after, is_paused=False)
    if world.retries and (after := protocol.retry(job, rules)) is not None:
        again = world._replace(job=after, is_cancelled=False, is_paused=False, crashes=0)
        yield "retry", again._replace(retries=world.retries - 1)


def _claimed(world: World, after: Job, rules: Rules) -> World:
    if any(held.is_owner for held in world.workers):
        raise Broken("never two owners", "claim")
    resumes_draft = rules.broken is Mutation.UNREGISTERED_CHECKPOINT and (
        world.draft or any(held.has_draft for held in world.workers)
    )
    if world.checkpoint is False or resumes_draft:
        raise Broken("a resumed checkpoint was registered by the owner of its time", "claim")
    return world._replace(job=after, workers=(*world.workers, Held(after.fence, is_owner=True)))


def _lost(world: World, after: Job) -> World:
    """The attempt was lost: whoever had the job does not any more, and may not know."""
    world = world._replace(job=after, crashes=world.crashes + 1)
    return world._replace(workers=tuple(held._replace(is_owner=False) for held in world.workers))


def _without(world: World, place: int) -> World:
    """The worker is idle again, or dead; its files stay."""
    gone = world.workers[place]
    others = world.workers[:place] + world.workers[place + 1 :]
    return world._replace(workers=others, draft=world.draft or gone.has_draft)


_ENDINGS: Final[dict[str, Callable[[Job, int, Rules], Job | None]]] = {
    "publish": protocol.publish,
    "fail": protocol.fail,
    "hand back": protocol.release,
    "crash": protocol.crash,
}


def _of_worker(world: World, place: int, held: Held, rules: Rules) -> Iterator[Move]:
    """What a worker does that believes to hold the job: the owner, or a zombie."""
    job, fence = world.job, held.fence
    yield "kill", _without(world, place)
    if (after := protocol.beat(job, fence, rules)) is not None:
        _must_own(held, "beat")
        yield "beat", world._replace(job=after)
    for label, statement in _ENDINGS.items():
        if (after := statement(job, fence, rules)) is None:
            yield f"{label}, refused", _without(world, place)
            continue
        _must_own(held, label)
        then = _ended(world, place, after, label)
        yield label, _without(then, place)
        yield f"{label}, not answered", then  # it does not know, and will try again
    yield from _writes(world, place, held, rules)


def _ended(world: World, place: int, after: Job, label: str) -> World:
    if label == "publish":
        if world.is_cancelled:
            raise Broken("no publish after a cancel", "owner: publish")
        world = world._replace(published=world.published + 1)
    if label == "crash":
        world = world._replace(crashes=world.crashes + 1)
    return _having(world, place, world.workers[place]._replace(is_owner=False))._replace(job=after)


def _writes(world: World, place: int, held: Held, rules: Rules) -> Iterator[Move]:
    job, fence = world.job, held.fence
    if (after := protocol.guard(job, fence, rules)) is not None:
        _must_own(held, "write")
        yield "write", world._replace(job=after)
    if (after := protocol.guard(job, fence, rules, progress=True)) is not None:
        _must_own(held, "progress")
        yield "progress", world._replace(job=after, crashes=0)
    if not held.has_draft:
        yield "save", _having(world, place, held._replace(has_draft=True))
        return
    registered = protocol.guard(job, fence, rules, progress=True)
    if rules.broken is Mutation.UNGUARDED_CHECKPOINT:
        registered = registered or job
    elif registered is not None:
        _must_own(held, "register")
    if registered is not None:
        then = _having(world, place, held._replace(has_draft=False))
        yield "register", then._replace(job=registered, checkpoint=held.is_owner, crashes=0)


def _having(world: World, place: int, held: Held) -> World:
    return world._replace(workers=(*world.workers[:place], held, *world.workers[place + 1 :]))


def _must_own(held: Held, label: str) -> None:
    if not held.is_owner:
        raise Broken("no beat, write or end by another fence", f"zombie: {label}")


def _check(before: World, after: World, label: str) -> None:
    """What holds in every world, and from one to the next."""
    job, was = after.job, before.job
    if after.published > 1:
        raise Broken("at most one publish", label)
    if after.is_cancelled and job.status not in {CANCELLING, CANCELLED}:
        raise Broken("a cancel is never forgotten", label)
    if after.is_paused and job.status in {QUEUED, RUNNING}:
        raise Broken("a pause is never forgotten", label)
    if was.status in TERMINAL and job.status != was.status and (label != "retry" or was.status == SUCCEEDED):
        raise Broken("nothing but a retry leaves a terminal status", label)
    if job.attempt > job.limit:
        raise Broken("attempts within their limit", label)
    if after.crashes >= CRASHES and job.status not in TERMINAL:
        raise Broken("crashes in a row within their limit", label)
    if job.status not in OWNED and (job.live or any(held.is_owner for held in after.workers)):
        raise Broken("an owner while and only while the status says so", label)
    if job.status in {PAUSED, PAUSING} and not after.is_paused:
        raise Broken("nothing pauses but a pause", label)
    if job.status == RUNNING and was.status not in {QUEUED, RUNNING}:
        raise Broken("a job runs only from the queue", label)
