"""When a study is complete: for every order of arrivals that hypothesis thinks of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from pirtad.daemon.arrivals import UNSEEN
from pirtad.daemon.assembler import Patience, Step, decide
from pirtad.worker.contract import Priority
from pirtad.worker.ledger.receiving import OpenStudy
from pirtad.worker.settings import AssemblySettings, SenderSettings

QUIET_S, CAP_S = 10.0, 60.0
SLOW_QUIET_S, SLOW_CAP_S = 30.0, 300.0
SETTINGS = AssemblySettings(
    quiet_period_s=QUIET_S,
    hard_cap_s=CAP_S,
    senders=(SenderSettings(ae_title="SLOW", quiet_period_s=SLOW_QUIET_S, hard_cap_s=SLOW_CAP_S),),
)


def _open(study_uid="1.2", calling_ae="MR", since=0.0, last=0.0) -> OpenStudy:
    return OpenStudy(study_uid, calling_ae, since, last)


def _complete(*studies: OpenStudy, now: float) -> list[str]:
    decisions = decide(studies, lambda ae: Patience(*SETTINGS.waiting_times_s(ae)), lambda _: UNSEEN, now)
    assert all(decision.step is Step.START for decision in decisions)
    return [decision.study_uid for decision in decisions]


def test_a_study_is_complete_once_it_was_quiet_for_the_quiet_period():
    study = _open(last=5.0)
    assert _complete(study, now=5.0 + QUIET_S - 0.001) == []
    assert _complete(study, now=5.0 + QUIET_S) == ["1.2"]


def test_a_study_is_complete_at_the_hard_cap_even_if_images_still_come():
    assert _complete(_open(last=CAP_S - 0.001), now=CAP_S - 0.001) == []
    assert _complete(_open(last=CAP_S), now=CAP_S) == ["1.2"]


def test_a_sender_has_its_own_waiting_times():
    slow = _open(calling_ae="SLOW ")
    assert _complete(slow, now=SLOW_QUIET_S - 0.001) == []
    assert _complete(slow, now=SLOW_QUIET_S) == ["1.2"]
    busy = _open(calling_ae="SLOW", last=SLOW_CAP_S - 1)
    assert _complete(busy, now=SLOW_CAP_S - 0.001) == []
    assert _complete(busy, now=SLOW_CAP_S) == ["1.2"]


def test_a_clock_set_back_completes_nothing_early_and_nothing_never():
    study = _open(since=1000.0, last=1000.0)
    assert _complete(study, now=0.0) == []
    assert _complete(study, now=1000.0 + QUIET_S) == ["1.2"]


@dataclass
class _Ledger:
    """What the ledger does with arrivals and completions, and no more."""

    open: dict[str, OpenStudy] = field(default_factory=dict)
    completed: list[tuple[float, str]] = field(default_factory=list)

    def arrives(self, study_uid: str, calling_ae: str, now: float) -> None:
        known = self.open.get(study_uid)
        self.open[study_uid] = (
            replace(known, last_received_at=now) if known else OpenStudy(study_uid, calling_ae, now, now)
        )

    def tick(self, now: float) -> None:
        for study_uid in _complete(*self.open.values(), now=now):
            del self.open[study_uid]  # KeyError if it were named twice
            self.completed.append((now, study_uid))


STUDIES = {"1.1": "MR", "1.2": "MR", "1.3": "SLOW"}
ARRIVALS = st.lists(st.tuples(st.floats(0, 400), st.sampled_from(sorted(STUDIES))), min_size=1, max_size=40)


def _play(arrivals, tick_s: float = 0.5) -> _Ledger:
    ledger = _Ledger()
    left = sorted(arrivals)
    for step in range(int(800 / tick_s)):
        now = step * tick_s
        while left and left[0][0] <= now:
            at, study_uid = left.pop(0)
            ledger.arrives(study_uid, STUDIES[study_uid], at)
        ledger.tick(now)
    return ledger


@given(ARRIVALS)
def test_every_study_is_completed_in_the_end_and_never_without_a_new_arrival(arrivals):
    ledger = _play(arrivals)
    assert ledger.open == {}
    for study_uid in STUDIES:
        times = sorted(at for at, uid in arrivals if uid == study_uid)
        completions = [at for at, uid in ledger.completed if uid == study_uid]
        previous = -1.0
        for at in completions:
            assert any(previous < time <= at for time in times), "completed with nothing new"
            previous = at
        assert bool(completions) == bool(times)
        assert not times or completions[-1] >= times[-1], "the last arrival belongs to no round"


@given(ARRIVALS)
def test_no_study_waits_longer_than_its_quiet_period_or_its_cap(arrivals):
    for at, study_uid in _play(arrivals).completed:
        quiet_s, cap_s = SETTINGS.waiting_times_s(STUDIES[study_uid])
        earlier = [time for time, uid in arrivals if uid == study_uid and time <= at]
        assert at - max(earlier) <= quiet_s + 0.5
        assert at - max(earlier) >= quiet_s or at - min(earlier) >= cap_s


@given(ARRIVALS)
def test_a_study_is_judged_as_if_it_were_alone(arrivals):
    together = _play(arrivals).completed
    for study_uid in STUDIES:
        alone = _play([(at, uid) for at, uid in arrivals if uid == study_uid]).completed
        assert [entry for entry in together if entry[1] == study_uid] == alone


@given(st.permutations([_open(f"1.{number}", last=float(number), since=float(number % 3)) for number in range(6)]))
def test_the_order_of_the_rows_does_not_matter(studies):
    assert _complete(*studies, now=13.0) == ["1.0", "1.3", "1.1", "1.2"]


def test_urgent_studies_are_started_first():
    studies = [_open("1.1"), replace(_open("1.2", since=1.0), priority=Priority.STAT)]
    assert _complete(*studies, now=20.0) == ["1.2", "1.1"]
