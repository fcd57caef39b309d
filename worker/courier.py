"""Takes a job's objects to its destinations, each on its own: what one of them does keeps nothing from another.

    due?  ->  is it up? (circuit breaker)  ->  store what it lacks  ->  ask it to commit  ->  settled

A step that fails leaves on record when this destination is tried again; the job waits for the earliest of them, and is
done when all are settled. Whatever is sent again is sent as the same bytes.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from pydicom.filereader import read_file_meta_info
from pydicom.uid import generate_uid

from pirtad.worker.ask_commitment import CommitmentNotTaken, CommitmentUnsupported
from pirtad.worker.backoff import backoff_s
from pirtad.worker.commitment import REASONS, Reference, Request
from pirtad.worker.deliver import Outcome
from pirtad.worker.errors import DeliveryPending, DestinationRefused, Permanent, Transient, WorkerError
from pirtad.worker.ledger import breakers, commitments, deliveries, shipments
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import KeptObject
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState
from pirtad.worker.ledger.shipments import AWAITING, Share
from pirtad.worker.recording import recorded
from pirtad.worker.sending import NOBODY_THERE, Unforeseen, guarded, may_have_arrived
from pirtad.worker.settings import Settings
from pirtad.worker.targets import Target

_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)

_GIVEN_UP = (Commitment.UNSUPPORTED, Commitment.NO_ANSWER)
_DOWN = "destination-down"
_RETRY_HINT = "see the destination's log; then `pirtad retry`"
_LOST_HINT = "restore its results folder, then `pirtad retry`"


class _Awaiting(Exception):
    """The answer to a commitment is to come; transaction_uid: of the question that was just asked, else None."""

    def __init__(self, until: float, transaction_uid: str | None) -> None:
        super().__init__()
        self.until = until
        self.transaction_uid = transaction_uid


class Courier:
    """Delivers to these destinations, in one thread. jitter: a number from 0 up to 1, new at each call. pause: waits so
    many seconds."""

    def __init__(
        self, database: Database, settings: Settings, targets: Sequence[Target],
        jitter: Callable[[], float] = random.random, pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._database = database
        self._data_dir = settings.storage.data_dir
        self._delivery = settings.delivery
        self._queue = settings.queue
        self._targets = {target.name: target for target in targets}
        self._jitter = jitter
        self._pause = pause
        self._calls = 0  # of targets so far

    def carry(self, job: ClaimedJob, loads: Mapping[str, Sequence[KeptObject]], now: float) -> None:
        """One attempt at every destination that is due. loads: what goes to each, by its name; kept on record already.

        now: POSIX seconds. Returns once all are settled. Raises `DeliveryPending` while one waits; then, if any is
        given up, `DestinationRefused` with its code and reason.
        """
        began_at = time.monotonic()

        def clock() -> float:
            return now + time.monotonic() - began_at

        roles = {name: [kept.role for kept in load] for name, load in loads.items()}
        shares = shipments.open_shares(self._database, job, tuple(loads), roles)
        failures = {one.name: one.failures for one in breakers.all_health(self._database, 1)}
        # Those that were down last: what they cost in waiting is not paid by those that are up.
        in_turn = sorted(loads, key=lambda one: failures.get(one, 0))
        due = [one for one in in_turn if shares[one].state == ShipmentState.WAITING]
        due = [one for one in due if shares[one].next_attempt_at <= now]
        for name in due:
            longest_s = len(roles[name]) * self._targets[name].longest_try_s
            if name != due[0] and clock() + longest_s > now + self._queue.stage_timeout_s:
                break  # the next attempt, at once, begins with it: a worker that takes longer is ended
            self._visit(job, self._targets[name], shares[name], roles[name], clock)
        self._conclude(shipments.open_shares(self._database, job, tuple(loads), roles).values())

    def _conclude(self, shares: Iterable[Share]) -> None:
        settled = list(shares)
        many = len(settled) > 1
        waiting = [one for one in settled if one.state == ShipmentState.WAITING]
        failed = [one for one in settled if one.state == ShipmentState.FAILED]
        told = "; ".join(f"{one.destination}: {one.reason}" if many else one.reason for one in [*waiting, *failed])
        hint = next((one.hint for one in [*waiting, *failed] if one.hint), "")
        if waiting:
            until = min(one.next_attempt_at for one in waiting)
            is_failure = any(one.code not in (AWAITING, "") for one in waiting)
            raise DeliveryPending(told, hint, until, is_failure=is_failure)
        if failed:
            raise DestinationRefused(failed[0].code, told, hint)

    def _visit(
        self, job: ClaimedJob, target: Target, share: Share, roles: Sequence[str], clock: Callable[[], float]
    ) -> None:
        """One attempt at one destination; what came of it is on record afterwards."""
        threshold, name = self._delivery.breaker_failures, target.name
        probe_wait_s = self._queue.backoff_cap_s + len(roles) * target.longest_try_s
        admission = breakers.admit(self._database, name, clock(), threshold, probe_wait_s)
        if not admission.is_admitted:
            why = f"waits until it answers again: {admission.reason}"
            shipments.wait(self._database, job, name, admission.until, _DOWN, why, is_attempt=False)
            return
        calls = self._calls

        def answered() -> None:
            if self._calls > calls:
                breakers.answered(self._database, name, clock(), threshold)
            elif admission.is_probe:  # there was nothing to ask of it
                breakers.not_tried(self._database, name, clock())

        try:
            is_new = self._store(job, target, share, roles, admission.is_probe)
            commitment = self._commit(job, target, share, roles, is_new, clock)
        except _Awaiting as awaiting:
            answered()
            shipments.wait_for_answer(self._database, job, name, awaiting.transaction_uid, awaiting.until)
        except Transient as error:
            in_a_row = breakers.failed(
                self._database, name, clock(), self._backoff_s(share.attempts + 1), error.reason, threshold
            )
            seconds = self._backoff_s(max(share.attempts + 1, in_a_row))
            shipments.wait(self._database, job, name, clock() + seconds, error.code, error.reason, error.hint)
            log.warning("destination waits", destination=name, code=error.code, in_a_row=in_a_row, next_in_s=seconds)
        except CommitmentNotTaken as error:
            answered()
            until = clock() + self._backoff_s(share.asks + 1)
            shipments.wait(self._database, job, name, until, error.code, error.reason, error.hint)
        except Unforeseen as error:
            self._count(job, share, error, clock)
        except Permanent as error:
            answered()
            hint = error.hint or _RETRY_HINT
            shipments.fail(self._database, job, name, error.code, error.reason, hint, clock())
            log.error("destination failed", destination=name, code=error.code, reason=error.reason)
        else:
            answered()
            shipments.settle(self._database, job, name, commitment, clock())

    def _count(self, job: ClaimedJob, share: Share, error: WorkerError, clock: Callable[[], float]) -> None:
        """Another attempt, but not for ever: waiting is not known to mend this."""
        is_first = share.code != error.code  # what was waited for before is not held against it
        attempts = 1 if is_first else share.attempts + 1
        if attempts >= self._queue.max_attempts:
            told = (error.code, error.reason, error.hint or _RETRY_HINT)
            shipments.fail(self._database, job, share.destination, *told, clock())
            return
        until = clock() + self._backoff_s(attempts)
        told = (error.code, error.reason, error.hint)
        shipments.wait(self._database, job, share.destination, until, *told, is_first=is_first)

    def _store(self, job: ClaimedJob, target: Target, share: Share, roles: Sequence[str], is_probe: bool) -> bool:
        """Send what the destination lacks, or does not keep; whether anything was sent."""
        of_target = deliveries.kept_objects(self._database, job, target.name)
        kept = [of_target[role] for role in roles]
        refuted = [one for one in kept if one.refuted_for is not None]
        if refuted and share.rounds >= self._delivery.commitment_attempts:
            raise Permanent("not-committed", _refusal(refuted), _RETRY_HINT)
        failed: list[WorkerError] = []
        sent: set[str] = set()
        for one in kept:
            if one.is_delivered and one.refuted_for is None:
                continue
            try:
                outcome = self._sent(job, target, one, is_probe)
            except WorkerError as error:
                failed.append(error)
                if error.code in NOBODY_THERE:
                    break
                continue
            self._mark_delivered(job, target.name, one, outcome)
            sent.add(one.role)
        if refuted and sent.issuperset(one.role for one in refuted):
            shipments.count_round(self._database, job, target.name)  # what was not sent again is not refused again
        if failed:
            # First what waiting mends, then what is counted, last what is final.
            raise min(failed, key=lambda error: (isinstance(error, Permanent), not isinstance(error, Transient)))
        return bool(sent)

    def _mark_delivered(self, job: ClaimedJob, name: str, kept: KeptObject, outcome: Outcome) -> None:
        now = time.time()  # one for all tries, by which another one knows what the first has recorded
        recorded(lambda: deliveries.mark_delivered(self._database, job, name, kept, outcome.status, now), self._pause)

    def _sent(self, job: ClaimedJob, target: Target, kept: KeptObject, is_probe: bool) -> Outcome:
        """Send one object; on record meanwhile, and after an answer that was lost, as one that may have arrived."""
        path = self._path(kept)
        before = deliveries.mark_tried(self._database, job, target.name, kept, time.time())
        try:
            return self._called(partial(target.send, path, is_probe=is_probe))
        except WorkerError as error:
            if not may_have_arrived(error):
                deliveries.settle_tried(self._database, job, target.name, kept, before)
            raise

    def _commit(
        self, job: ClaimedJob, target: Target, share: Share, roles: Sequence[str], is_new: bool,
        clock: Callable[[], float],
    ) -> Commitment:  # fmt: skip
        """Have the destination say that it keeps what it was sent; `_Awaiting` while it has not."""
        if target.commitment == "off":
            return Commitment.OFF
        name = target.name
        is_required = target.commitment == "required"
        open_objects = self._uncommitted(job, name, roles)
        if not open_objects:
            return Commitment.COMMITTED
        asks = 0 if is_new else share.asks
        asked_at = commitments.unanswered_since(self._database, job, name)
        timeout_s = self._delivery.commitment_timeout_s
        if not is_new and asked_at is not None and clock() < asked_at + timeout_s:
            raise _Awaiting(asked_at + timeout_s, None)
        attempts = self._delivery.commitment_attempts
        if not is_required and shipments.last_commitment(self._database, name) in _GIVEN_UP:
            attempts = 1  # it may have been mended; if not, no report is held up three times for it
        if asks >= attempts:
            if is_required:
                told = f"{name} stored the objects and did not answer {asks} requests for storage commitment"
                raise Permanent("commitment-timeout", told, "can it reach our listener? Then `pirtad retry`")
            return Commitment.NO_ANSWER
        transaction_uid = str(generate_uid(prefix=None))
        now = clock()
        references = tuple(self._reference(one) for one in open_objects)
        shipments.count_ask(self._database, job, name, is_first=is_new)
        uids = [one.sop_instance_uid for one in open_objects]
        commitments.open_transaction(self._database, job, name, transaction_uid, uids, now)
        try:
            self._called(
                partial(
                    target.ask,
                    Request(transaction_uid, references),
                    lambda report: commitments.receive_report(self._database, report, time.time()),
                    partial(commitments.is_answered, self._database, transaction_uid),
                )
            )
        except CommitmentUnsupported as error:
            commitments.close_transaction(self._database, transaction_uid, now)
            if is_required:
                raise Permanent(error.code, error.reason, error.hint) from error
            return Commitment.UNSUPPORTED
        except CommitmentNotTaken as error:
            commitments.close_transaction(self._database, transaction_uid, now)
            if asks + 1 < attempts:
                raise
            if is_required:
                raise Permanent(error.code, error.reason, error.hint) from error
            return Commitment.UNSUPPORTED
        except Transient as error:
            commitments.close_transaction(self._database, transaction_uid, now)
            if error.code in NOBODY_THERE:
                shipments.uncount_ask(self._database, job, name, asks)
            raise
        if not self._uncommitted(job, name, roles):
            return Commitment.COMMITTED
        raise _Awaiting(now + timeout_s, transaction_uid)

    def _uncommitted(self, job: ClaimedJob, name: str, roles: Sequence[str]) -> list[KeptObject]:
        kept = deliveries.kept_objects(self._database, job, name)
        return [kept[role] for role in roles if not kept[role].is_committed]

    def _path(self, kept: KeptObject) -> Path:
        """Its file; `Permanent` unless it holds the bytes that were composed."""
        path = self._data_dir / kept.path
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != kept.sha256:
            raise Permanent("result-lost", f"the {kept.role} as it was composed is no longer on disk", _LOST_HINT)
        return path

    def _reference(self, kept: KeptObject) -> Reference:
        return Reference(str(read_file_meta_info(self._path(kept)).MediaStorageSOPClassUID), kept.sop_instance_uid)

    def _called(self, act: Callable[[], _Result]) -> _Result:
        """What a target does, counted; an error that it does not foresee keeps no other destination waiting."""
        self._calls += 1
        return guarded(act)

    def _backoff_s(self, attempt: int) -> float:
        """Up to half of the wait is taken off at random, so that what failed together does not come back together."""
        longest = backoff_s(attempt, self._queue.backoff_base_s, self._queue.backoff_cap_s)
        return longest * (1 - self._jitter() / 2)


def _refusal(refuted: Sequence[KeptObject]) -> str:
    reasons = sorted({one.refuted_for for one in refuted if one.refuted_for is not None})
    told = ", ".join(f"0x{reason:04X} ({REASONS.get(reason, 'unknown reason')})" for reason in reasons)
    return f"it stored {len(refuted)} of the objects, and says that it does not keep them: {told}"
