"""From prices to a plan that keeps every constraint: best-first repair, then best-first improvement.

A move puts another action, or none, into one slot of one customer. Repair takes the moves that lose least for
the excess they remove; improvement takes those that gain most and fit. Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimwell.strategy.certificate import measure_excess, pick
from aimwell.strategy.problem import Flags, Integers, Problem, Reals

PASSES = 60
CANDIDATES = 20_000
NARROW = 6_000


@dataclass
class Draft:
    """A plan in the making: the slots (customers × k) and what each row is used."""

    problem: Problem
    usable: Flags
    slots: Integers
    used: Reals

    @classmethod
    def start(cls, problem: Problem, usable: Flags, slots: Integers) -> Draft:
        """A draft of ``slots``, which are copied."""
        return cls(
            problem, usable, slots.copy(), np.array([pick(row.usage, slots).sum() for row in problem.rows])
        )

    def find_broken(self) -> list[int]:
        """The rows that the draft breaks, by exact sums."""
        return [i for i, row in enumerate(self.problem.rows) if measure_excess(row, self.slots) > 0]

    def apply(self, customer: int, place: int, action: int) -> None:
        """Put ``action`` (−1: none) into one slot."""
        self.used += self.change(customer, place, action)
        self.slots[customer, place] = action

    def change(self, customer: int, place: int, action: int) -> Reals:
        """What the move would add to each row's use."""
        old = self.slots[customer, place]
        return np.array(
            [
                (row.usage[customer, action] if action >= 0 else 0.0)
                - (row.usage[customer, old] if old >= 0 else 0.0)
                for row in self.problem.rows
            ]
        )

    def room(self) -> Reals:
        """Signed distance of each row to its limit, less a trace for rounding; negative when broken."""
        rows = self.problem.rows
        limits = np.array([row.limit for row in rows])
        signs = np.array([row.sign for row in rows])
        return signs * (limits - self.used)

    def fits(self, customer: int, place: int, action: int) -> bool:
        """Whether another slot of the customer holds no action of the same offer."""
        groups = self.problem.groups
        others = [a for s, a in enumerate(self.slots[customer]) if s != place and a >= 0]
        return action < 0 or all(groups[other] != groups[action] for other in others)


@dataclass(frozen=True)
class Moves:
    """Candidate moves: parallel arrays, with what each gains and adds to the rows (rows × moves)."""

    customer: Integers
    place: Integers
    action: Integers
    gain: Reals
    added: Reals

    def take(self, index: Integers) -> Moves:
        """Some of them, in the order of ``index``."""
        return Moves(
            self.customer[index],
            self.place[index],
            self.action[index],
            self.gain[index],
            self.added[:, index],
        )


def list_moves(draft: Draft, customers: Integers) -> Moves:
    """Every move of ``customers`` to a usable action or to none."""
    problem, width = draft.problem, draft.problem.actions + 1
    count = len(customers) * draft.slots.shape[1] * width
    index = np.arange(count)
    customer = customers[index // (draft.slots.shape[1] * width)]
    place = (index // width) % draft.slots.shape[1]
    action = index % width - 1
    old = draft.slots[customer, place]
    real = (action != old) & ((action < 0) | draft.usable[customer, action])
    customer, place, action, old = customer[real], place[real], action[real], old[real]
    gain = _look_up(problem.value, customer, action) - _look_up(problem.value, customer, old)
    added = np.array(
        [_look_up(row.usage, customer, action) - _look_up(row.usage, customer, old) for row in problem.rows]
    ).reshape(len(problem.rows), len(customer))
    return Moves(customer, place, action, gain, added)


def repair(draft: Draft, prices: Reals, margins: Reals) -> bool:
    """Mend every broken row, losing as little as possible; False when it did not succeed."""
    near = np.argsort(margins, kind="stable")
    pool = near[:NARROW]
    for attempt in range(PASSES):
        broken = draft.find_broken()
        if not broken:
            return True
        if not _repair_once(draft, prices, broken, np.sort(pool)) or attempt == 3:
            if len(pool) == len(near) and attempt > 3:
                return False
            pool = near
    return not draft.find_broken()


def _repair_once(draft: Draft, prices: Reals, broken: list[int], customers: Integers) -> bool:
    rows = draft.problem.rows
    minimums = np.array([row.sense == "at_least" for row in rows])
    target = np.isin(np.arange(len(rows)), broken)
    # Minimums first, even at the expense of a maximum; then maximums, which must leave minimums alone.
    reaching = bool(np.any(target & minimums))
    target, guarded = (target & minimums, minimums & ~target) if reaching else (target, ~target)
    moves = list_moves(draft, customers)
    room, signs = draft.room(), np.array([row.sign for row in rows])
    scale = np.array([max(abs(row.limit), float(row.usage.max(initial=0.0)), 1e-12) for row in rows])
    # The exact excess can be more than the running sum shows: ask for at least a trace.
    need = np.where(target, np.maximum(-room, 1e-12 * scale), 0.0)
    added = signs[:, None] * moves.added
    relief = (np.minimum(-added[target], need[target][:, None]) / scale[target][:, None]).sum(axis=0)
    harmless = np.all(added[guarded] <= np.maximum(room[guarded], 0.0)[:, None], axis=0)
    useful = np.flatnonzero((relief > 0) & harmless)
    if not useful.size:
        return False
    loss = -moves.gain[useful] + prices @ added[:, useful]
    score = np.where(loss > 0, loss / relief[useful], loss * relief[useful])
    order = useful[np.argsort(score, kind="stable")][:CANDIDATES]
    return _apply_repairs(draft, moves.take(order), signs, need, guarded)


def _apply_repairs(draft: Draft, moves: Moves, signs: Reals, need: Reals, guarded: Flags) -> bool:
    touched: set[int] = set()
    for index in range(len(moves.gain)):
        if not np.any(need > 0):
            break
        customer, place, action = (
            int(moves.customer[index]),
            int(moves.place[index]),
            int(moves.action[index]),
        )
        if customer in touched or not draft.fits(customer, place, action):
            continue
        added = signs * moves.added[:, index]
        room = np.maximum(draft.room(), 0.0)
        if np.any(added[guarded] > room[guarded]) or not np.any(added[need > 0] < 0):
            continue
        draft.apply(customer, place, action)
        need = np.where(need > 0, need + added, need)
        touched.add(customer)
    return bool(touched)


def improve(draft: Draft, customers: Integers, *, passes: int = 8) -> None:
    """Take gaining moves that fit, best first, until none is left (or ``passes`` are over)."""
    signs = np.array([row.sign for row in draft.problem.rows])
    for _ in range(passes):
        moves = list_moves(draft, customers)
        room = draft.room()
        good = moves.gain > 0
        if len(signs):
            good &= np.all(signs[:, None] * moves.added <= _trim(draft, room)[:, None], axis=0)
        index = np.flatnonzero(good)
        index = index[np.argsort(-moves.gain[index], kind="stable")][:CANDIDATES]
        if not _apply_gains(draft, moves.take(index), signs):
            return


def _apply_gains(draft: Draft, moves: Moves, signs: Reals) -> bool:
    touched: set[int] = set()
    room = _trim(draft, draft.room())
    for index in range(len(moves.gain)):
        customer, place, action = (
            int(moves.customer[index]),
            int(moves.place[index]),
            int(moves.action[index]),
        )
        added = signs * moves.added[:, index]
        if customer in touched or np.any(added > room) or not draft.fits(customer, place, action):
            continue
        draft.apply(customer, place, action)
        room = room - added
        touched.add(customer)
    return bool(touched)


def _trim(draft: Draft, room: Reals) -> Reals:
    # Whole numbers (cents, minutes, offers) add up exactly; other sums keep a trace away from the limit.
    for index, row in enumerate(draft.problem.rows):
        if room[index] != np.floor(room[index]) or not _is_whole(row.usage, draft.slots):
            room[index] -= 1e-12 * (abs(row.limit) + 1.0)
    return room


def _is_whole(usage: Reals, slots: Integers) -> bool:
    used = pick(usage, slots)
    return bool(np.all(used == np.floor(used)))


def _look_up(matrix: Reals, customer: Integers, action: Integers) -> Reals:
    return np.where(action >= 0, matrix[customer, np.maximum(action, 0)], 0.0)
