"""A short fuzz campaign, and whether it would see a fault: each check is tried on a fault put in on purpose."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import support.fuzz_headers
import support.fuzz_target
from support.fuzz_campaign import Campaign, growth
from support.fuzz_feeder import drawn_feed
from support.fuzz_headers import Encoded, Outcome, damaged, problem_of
from support.fuzz_images import datasets
from support.fuzz_minimise import smaller
from support.fuzz_oracle import sent_images
from support.fuzz_streams import Recording, mutated, pdus_of
from support.fuzz_target import Finding, Stream, Target, target
from support.raw_peer import RELEASE_RQ, associate_rq, store
from support.receiving import STUDY, encoded, image

from pirtad.daemon import association
from pirtad.daemon.errors import Refused
from pirtad.daemon.header import Header
from pirtad.daemon.limits import Places
from pirtad.daemon.receiver import Intake
from pirtad.daemon.spool import Spool
from pirtad.daemon.wire import Wire

STREAMS, DATASETS = 300, 300
IN_MEMORY = Path("/dev/shm")
IMAGE = encoded(image(pixels=bytes(20)))
STORED = Stream(1, associate_rq() + store(IMAGE) + RELEASE_RQ)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is some: it is not about syncs, and they would take most of the time."""
    if not os.access(IN_MEMORY, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="pirtad-fuzz-", dir=IN_MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def tried(directory: Path) -> Iterator[Target]:
    with target(directory) as tried:
        yield tried


def _kinds(found: list[Finding]) -> set[str]:
    return {finding.kind for finding in found}


def test_damaged_associations_and_datasets_do_no_harm(directory: Path):
    campaign = Campaign(directory, seed=7, with_programs=False)
    is_clean = campaign.run(STREAMS, DATASETS)

    assert is_clean, campaign.table()
    assert (campaign.state.streams, campaign.state.datasets) == (STREAMS, DATASETS)
    # and they reach all there is to reach
    counts, of_datasets = campaign.state.counts, campaign.state.dataset_counts
    assert counts["streams"] == STREAMS
    assert counts["images kept"] > 0.2 * STREAMS
    assert all(counts[what] for what in ("associated", "aborted by us", "released", "answered 0xC000")), counts
    assert all(of_datasets[f"read by {who}"] for who in ("both", "neither", "us alone", "pydicom alone")), of_datasets

    # When the campaign goes on in another process, then with the streams behind these
    again = Campaign(directory, seed=8, with_programs=False)
    assert (again.state.seed, again.state.streams, again.state.runs) == (7, STREAMS, 2)
    assert again.stream(3) == campaign.stream(3)


def test_with_the_ledger_behind_it_too(tried: Target):
    again = Stream(2, associate_rq("OTHER") + store(IMAGE) + store(encoded(image(2)), 2) + RELEASE_RQ, "in pieces")
    assert tried.block([STORED, again], is_registered=True) == []
    assert tried.counts["images kept"] == 3


@pytest.mark.parametrize("feed", ["at once", "in pieces", "deaf", "silent"])
def test_a_sound_stream_is_taken_however_it_comes(tried: Target, feed: str):
    large = Stream(3, associate_rq() + store(encoded(image(pixels=bytes(300_000)))), feed)
    assert tried.block([Stream(2, STORED.data, feed), large]) == []
    assert tried.counts["images kept"] == 2


# --- faults put in on purpose -------------------------------------------------------------------------------------


def test_other_bytes_than_were_sent_are_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    write = Intake.write
    monkeypatch.setattr(Intake, "write", lambda self, fragment: write(self, memoryview(bytes(fragment[:-1]))))
    assert "an image that was not sent" in _kinds(tried.block([STORED]))


def test_a_success_without_an_image_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Intake, "finish", lambda self: (self.abandon(), (0, ""))[1])
    assert "Success without an image" in _kinds(tried.block([STORED]))


def test_an_image_damaged_or_gone_after_its_success_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    add = support.fuzz_target._Kept.add

    def damage(self, received):
        data = bytearray(received.incoming.read_bytes())
        data[-1] ^= 1
        received.incoming.write_bytes(data)
        add(self, received)

    monkeypatch.setattr(support.fuzz_target._Kept, "add", damage)
    assert {"other bytes on disk", "a restart would see other images"} <= _kinds(tried.block([STORED]))


def test_a_file_left_over_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Intake, "abandon", lambda _self: None)
    cut = Stream(1, (associate_rq() + store(IMAGE, fragment_bytes=50))[:-10])
    assert "files left over" in _kinds(tried.block([cut]))


def test_what_stays_open_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    land, kept = Spool.land, []

    def leak(self, start_bytes):
        kept.append(os.open(self.data_dir, os.O_RDONLY))
        return land(self, start_bytes)

    # also among others: which stream it was is found
    monkeypatch.setattr(Spool, "land", leak)
    found = tried.block([Stream(0, associate_rq()), STORED])
    for descriptor in kept:
        os.close(descriptor)
    assert [(finding.kind, finding.stream.number) for finding in found] == [("descriptors left open", 1)]
    monkeypatch.undo()

    monkeypatch.setattr(Wire, "close", lambda _self: None)
    assert "connection left open" in _kinds(tried.block([STORED]))
    monkeypatch.undo()

    monkeypatch.setattr(Places, "leave", lambda _self, _place: None)
    assert "place not left" in _kinds(tried.block([STORED]))


def test_a_thread_left_behind_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    end, land = threading.Event(), Spool.land

    def leave(self, start_bytes):
        threading.Thread(target=end.wait, args=(20,), daemon=True).start()
        return land(self, start_bytes)

    monkeypatch.setattr(Spool, "land", leave)
    found = tried.block([STORED])
    end.set()
    assert "threads left" in _kinds(found)


def test_an_error_nobody_thought_of_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(association.commands, "read_command", lambda _encoded: {}["no such key"])
    (finding,) = tried.block([STORED])
    assert (finding.kind, finding.detail) == ("unforeseen", "association failed: KeyError ")


def test_a_hang_is_seen(tried: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(support.fuzz_target, "DEADLINE_S", 0.2)
    monkeypatch.setattr(Intake, "finish", lambda _self: threading.Event().wait())
    assert "hang" in _kinds(tried.block([STORED]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda _data, _syntax: {}["no such key"], "raised KeyError"),
        (lambda data, _syntax: bytes(40 * len(data) + 10**7) and _refuse(), "took 1"),
        (lambda _data, _syntax: Header("1.2", "1.3", "1.4", "1.5", "MR"), "another StudyInstanceUID"),
    ],
)  # fmt: skip
def test_a_header_read_wrong_is_seen(monkeypatch: pytest.MonkeyPatch, wrong, told):
    monkeypatch.setattr(support.fuzz_headers, "read_header", wrong)
    assert problem_of(Encoded(IMAGE, "1.2.840.10008.1.2.1"), Outcome(), watches_memory=True).startswith(told)


def _refuse():
    raise Refused(0xC000, "no")


def test_growth_is_seen():
    assert growth([(n, 100 * n) for n in range(0, 100_001, 10_000)]) == (pytest.approx(100), 7_000_000)
    assert growth([(n, 5) for n in range(0, 100_001, 10_000)]) == (0, 0)
    assert growth([(n, 100 * n) for n in range(0, 60_001, 10_000)]) == (0, 0)  # too soon to tell


@pytest.mark.parametrize("which", ["memory", "descriptors", "blocks", "none"])
def test_a_campaign_that_grows_is_not_clean(directory: Path, which: str):
    campaign = Campaign(directory, seed=7, with_programs=False)
    grow = [int(which == one) for one in ("memory", "descriptors", "blocks")]
    campaign.state.samples = [
        [1, n, 10**8 + 100 * n * grow[0], 9 + n // 50_000 * grow[1], 10**6 + n // 2 * grow[2]]
        for n in range(10_000, 300_000, 10_000)
    ]
    assert campaign.is_clean == (which == "none")
    assert ("grow" in campaign.table()) == (which != "none")


def test_a_stream_that_ends_the_process_twice_is_found_and_left_out(directory: Path):
    for times in (1, 2):
        campaign = Campaign(directory, seed=7, with_programs=False)
        (directory / "now").write_bytes((4).to_bytes(8, "little"))
        campaign.run(2, 0)
        assert campaign.is_clean == (times == 1)
    assert list(campaign.state.findings) == ["process died: twice"]


# --- the tools ------------------------------------------------------------------------------------------------------


def test_an_input_is_made_smaller(tried: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Intake, "finish", lambda _self: {}["no such key"])
    long = Stream(1, associate_rq() + store(IMAGE) * 5 + RELEASE_RQ)
    small = smaller(long, lambda one: "unforeseen" in _kinds(tried.block([one])), within_s=1)
    assert len(small.data) < len(STORED.data)
    assert "unforeseen" in _kinds(tried.block([small]))


def test_the_same_number_gives_the_same_stream_and_another_another():
    recorded = [Recording("made", STORED.data)]
    made = [mutated(random.Random(f"1:{n}"), recorded) for n in range(300)]
    assert made == [mutated(random.Random(f"1:{n}"), recorded) for n in range(300)]
    assert len(set(made)) > 250
    chance = random.Random(1)
    assert {drawn_feed(chance) for _ in range(60_000)} == {"at once", "in pieces", "deaf", "silent"}
    found = datasets()
    assert damaged(random.Random(5), found) == damaged(random.Random(5), found)


def test_the_oracle_takes_whole_images_alone():
    assert [(one.context, one.sop_instance_uid, one.dataset) for one in sent_images(STORED.data)] == [
        (1, f"{STUDY}.2.1", IMAGE)
    ]
    assert b"".join(pdus_of(STORED.data)) == STORED.data
    for length in range(0, len(STORED.data) - len(RELEASE_RQ), 7):
        assert sent_images(STORED.data[:length]) == []
