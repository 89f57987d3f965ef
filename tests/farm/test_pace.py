"""Deadlines and pace, as values: when to stop, what still fits, and how many tasks to take at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.farm.deadline import LEARNT_FROM, Deadline, Pace


def paced(*durations: float, wait: float | None = None) -> Pace:
    """Return a pace that has learned these durations, and, very often, this wait for the lock."""
    pace = Pace()
    for duration in durations:
        pace.ended(duration)
    if wait is not None:
        for _ in range(200):
            pace.waited(wait)
    return pace


class TestDeadline:
    def test_none_is_never_reached_and_fits_everything(self) -> None:
        """Without a deadline nothing ever stops or is held back."""
        never = Deadline()
        assert not never.reached(1e12)
        assert never.fits(1e12, 1e12)

    def test_is_reached_at_its_moment(self) -> None:
        """A deadline is reached at its moment, and stays so."""
        deadline = Deadline(100.0, "--timeout 100 s")
        assert [False, True, True] == [deadline.reached(now) for now in (99.9, 100.0, 101.0)]

    @pytest.mark.parametrize(
        ("now", "typical", "fits"),
        [(90.0, 10.0, True), (90.1, 10.0, False), (90.0, None, True), (200.0, None, True), (100.0, 0.0, True)],
    )
    def test_fits_what_would_end_in_time(self, now: float, typical: float | None, fits: bool) -> None:
        """A task fits if, at its typical duration, it ends by the deadline; an unknown duration always does."""
        assert fits == Deadline(100.0).fits(now, typical)

    def test_without_fit_everything_fits(self) -> None:
        """With `--no-fit` a task is started also at the last moment."""
        assert Deadline(100.0, fit=False).fits(99.9, 3600.0)


class TestTypical:
    def test_is_unknown_before_ten_ends(self) -> None:
        """Nine ended tasks are too few to know a typical duration; ten are enough."""
        assert paced(*[1.0] * (LEARNT_FROM - 1)).typical is None
        assert paced(*[1.0] * LEARNT_FROM).typical == 1.0

    def test_is_the_median(self) -> None:
        """One task that took a day does not make a typical task long."""
        assert 3.5 == paced(1, 2, 3, 3, 3, 4, 4, 5, 6, 86400).typical

    def test_follows_the_last_hundred(self) -> None:
        """What tasks took long ago is forgotten."""
        assert 60.0 == paced(*[1.0] * 1000, *[60.0] * 101).typical

    @given(st.lists(st.floats(0, 1e6), min_size=LEARNT_FROM, max_size=300))
    def test_lies_between_shortest_and_longest(self, durations: list[float]) -> None:
        """The typical duration is one that tasks could have had."""
        typical = paced(*durations).typical
        assert typical is not None
        assert min(durations) <= typical <= max(durations)


class TestHorizon:
    def test_is_a_second_at_least(self) -> None:
        """Where nobody waits for the lock, a second's work is held."""
        assert 1.0 == paced().horizon
        assert 1.0 == paced(wait=0.001).horizon

    def test_keeps_waiting_near_two_percent(self) -> None:
        """Where the lock makes one wait, fifty times as much work is held."""
        assert pytest.approx(5.0, rel=0.01) == paced(wait=0.1).horizon

    def test_forgets_a_single_long_wait(self) -> None:
        """A wait that was long once counts little after some short ones."""
        pace = paced(wait=0.0)
        pace.waited(8.0)
        assert pytest.approx(50.0) == pace.horizon
        for _ in range(40):
            pace.waited(0.0)
        assert 1.0 == pace.horizon


class TestBlock:
    def test_is_the_free_slots_while_nothing_is_known(self) -> None:
        """As long as durations are unknown, no task is held ahead."""
        assert 3 == Pace().block(slots=8, free=5, queued=2, waiting=lambda: 1000, live_slots=8)
        assert 0 == Pace().block(slots=8, free=2, queued=5, waiting=lambda: 1000, live_slots=8)

    def test_of_long_tasks_is_the_free_slots(self) -> None:
        """Tasks of the horizon's length and more are never held ahead."""
        assert 1 == paced(*[1.0] * 10).block(slots=8, free=1, queued=0, waiting=lambda: 10**6, live_slots=8)

    def test_of_short_tasks_lasts_for_the_horizon(self) -> None:
        """Tasks of 10 ms on 8 slots are taken for a second: 800, less what is queued."""
        pace = paced(*[0.01] * 10)
        assert 800 == pace.block(slots=8, free=8, queued=0, waiting=lambda: 10**6, live_slots=8)
        assert 500 == pace.block(slots=8, free=8, queued=300, waiting=lambda: 10**6, live_slots=8)

    def test_is_nothing_while_half_is_queued(self) -> None:
        """One does not go to the books for a few more tasks."""
        pace = paced(*[0.01] * 10)
        assert 0 == pace.block(slots=8, free=0, queued=401, waiting=lambda: 10**6, live_slots=8)
        assert 400 == pace.block(slots=8, free=0, queued=400, waiting=lambda: 10**6, live_slots=8)

    def test_is_at_most_half_a_fair_share(self) -> None:
        """At the end of the list nobody takes more than half of the slots' share, but what the free slots need."""
        pace = paced(*[0.1] * 10)
        assert 50 == pace.block(slots=8, free=0, queued=0, waiting=lambda: 100, live_slots=8)
        assert 10 == pace.block(slots=8, free=0, queued=0, waiting=lambda: 200, live_slots=80)
        assert 8 == pace.block(slots=8, free=8, queued=0, waiting=lambda: 10, live_slots=80)

    def test_may_be_what_takes_a_moment(self) -> None:
        """A tenth of a second's tasks of 10 ms on 8 slots are 80, whatever others there are."""
        assert 80 == paced(*[0.01] * 10).block(slots=8, free=0, queued=0, waiting=lambda: 100, live_slots=800)
        assert 0 == paced(*[0.01] * 10).block(slots=8, free=0, queued=41, waiting=lambda: 100, live_slots=800)

    def test_leads_to_few_visits_at_the_end(self) -> None:
        """The last tasks of a list are taken by halves, not one by one as slots become free."""
        pace, waiting, queued, visits = paced(*[0.001] * 10), 1000, 0, 0
        while waiting or queued:
            block = min(waiting, pace.block(slots=2, free=1, queued=queued, waiting=lambda: waiting, live_slots=2))  # noqa: B023
            visits += block > 0
            waiting, queued = waiting - block, queued + block - 1
        assert visits < 10

    def test_is_all_where_nobody_else_can_be_there(self) -> None:
        """The only farmer of a private list takes all of it, up to the horizon, and only once it has few left."""
        pace = paced(*[0.01] * 10)
        assert 100 == pace.block(slots=8, free=0, queued=0, waiting=lambda: 100, live_slots=None)
        assert 784 == pace.block(slots=8, free=0, queued=16, waiting=lambda: 10**6, live_slots=None)
        assert 0 == pace.block(slots=8, free=0, queued=17, waiting=lambda: 10**6, live_slots=None)

    def test_counts_itself_among_the_living(self) -> None:
        """A farmer that is not yet counted among the living slots takes no more than half of all."""
        assert 50 == paced(*[0.1] * 10).block(slots=8, free=0, queued=0, waiting=lambda: 100, live_slots=0)

    @given(
        durations=st.lists(st.floats(0, 100), max_size=20),
        slots=st.integers(1, 256),
        queued=st.integers(0, 1000),
        waiting=st.integers(0, 10**6),
        others=st.integers(0, 4096),
        data=st.data(),
    )
    def test_feeds_every_free_slot_and_nobody_starves(
        self, durations: list[float], slots: int, queued: int, waiting: int, others: int, data: st.DataObject
    ) -> None:
        """A block is what the free slots lack, or else no more than makes half a fair share, or a tenth of a second."""
        free = data.draw(st.integers(0, slots))
        pace = paced(*durations)
        block = pace.block(slots, free, queued, lambda: waiting, slots + others)
        lack = max(0, free - queued)
        share = slots * (waiting + queued) // (2 * (slots + others))
        moment = int(0.1 * slots / max(pace.typical, 1e-4)) if pace.typical is not None else 0
        assert lack <= block <= max(lack, share - queued, moment - queued)
