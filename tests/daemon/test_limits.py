"""No peer takes the place, the time or the disk of another."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from support.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    associate_rq,
    p_data,
    pdv,
    raw_peer,
    store,
    store_command,
)
from support.receiving import STUDY, Clock, encoded, image, receiving_side, running_listener

from pirtad.daemon.limits import Places, Rate
from pirtad.daemon.wire import TooSlow, Wire

IMAGE = encoded(image())


def _enter(places, address, ended=None):
    return places.enter(address, lambda: None if ended is None else ended.append(address))


def test_an_address_has_its_share_and_no_more():
    places = Places(64, 2, Clock())
    mine = [_enter(places, "a") for _ in range(3)]
    assert [places.associate(place) for place in mine] == ["", "", "max_associations_per_peer"]
    places.leave(mine[0])
    assert places.associate(mine[2]) == ""
    # connections without an association are counted too
    more = [_enter(places, "a") for _ in range(40)]
    assert None in more
    assert _enter(places, "b") is not None


def test_who_has_most_loses_an_idle_one_to_who_has_none():
    clock, ended = Clock(), []
    places = Places(4, 4, clock)
    for _ in range(4):
        assert places.associate(_enter(places, "greedy", ended)) == ""
    newcomer = _enter(places, "b")
    # Not while they are all at work
    assert places.associate(newcomer) == "max_associations"
    clock.now += 10
    assert places.associate(newcomer) == ""
    assert ended == ["greedy"]


def test_where_all_have_one_the_longest_idle_gives_way_to_who_has_none():
    clock, ended = Clock(), []
    places = Places(4, 4, clock)
    held = [_enter(places, f"peer {number}", ended) for number in range(4)]
    assert [places.associate(place) for place in held] == [""] * 4
    clock.now += 4
    held[0].active_at = clock.now  # at work
    newcomer = _enter(places, "newcomer", ended)
    assert places.associate(newcomer) == "max_associations"
    clock.now += 2
    assert places.associate(newcomer) == ""
    assert len(ended) == 1
    assert ended != ["peer 0"]
    # And who has one already takes none from others that have one
    assert places.associate(_enter(places, "newcomer")) == "max_associations"


def test_idle_ones_give_way_though_another_has_more_that_are_at_work():
    # Given an address with three associations at work, and one that holds two and says nothing
    clock, ended = Clock(), []
    places = Places(5, 4, clock)
    busy = [_enter(places, "scanner", ended) for _ in range(3)]
    idle = [_enter(places, "holder", ended) for _ in range(2)]
    assert [places.associate(place) for place in (*busy, *idle)] == [""] * 5
    clock.now += 10
    for place in busy:
        place.active_at = clock.now
    # Then who has none gets one of those
    assert places.associate(_enter(places, "newcomer")) == ""
    assert ended == ["holder"]


def test_connections_that_ask_for_nothing_from_many_addresses_do_not_keep_a_new_one_out():
    clock, ended = Clock(), []
    places = Places(64, 16, clock)
    assert all(_enter(places, f"peer {number}", ended) is not None for number in range(128))
    assert _enter(places, "newcomer") is None
    clock.now += 1
    assert _enter(places, "newcomer") is not None
    assert len(ended) == 1


def test_pending_connections_from_everywhere_do_not_keep_a_new_one_out():
    clock, ended = Clock(), []
    places = Places(8, 100, clock)
    for number in range(1000):
        _enter(places, f"attacker {number % 2}", ended)
    assert _enter(places, "sender") is not None
    assert ended


def test_a_sender_above_its_rate_is_slowed_and_others_are_not():
    clock = Clock()
    rate = Rate(10, clock)
    waits = [rate.wait_s("FAST") for _ in range(20)]
    assert waits[:10] == [0.0] * 10
    assert waits[-1] == pytest.approx(1.0)
    assert rate.wait_s("OTHER") == 0.0
    clock.now += 10
    assert rate.wait_s("FAST") == 0.0
    assert Rate(0, clock).wait_s("ANY") == 0.0


def test_an_image_that_is_too_large_is_refused_and_the_next_is_taken(tmp_path):
    with receiving_side(tmp_path, max_instance_bytes=len(IMAGE)) as side:
        assert side.receive(IMAGE, fragment_bytes=100) == 0x0000
        large = encoded(image(2, pixels=b"\x01\x02" * 501))
        assert side.receive(large, fragment_bytes=100, sop_instance_uid=f"{STUDY}.2.2") == 0xA700
        assert side.receive(encoded(image(3)), sop_instance_uid=f"{STUDY}.2.3") == 0x0000


@pytest.mark.parametrize("limit", [{"max_study_images": 3}, {"max_study_bytes": 5500}])
def test_a_study_that_is_too_large_is_not_continued_not_even_after_a_restart(tmp_path, limit):
    for numbers in ((1, 2, 3, 4), (5,)):
        with receiving_side(tmp_path, **limit) as side:
            statuses = [side.receive(encoded(image(n)), sop_instance_uid=f"{STUDY}.2.{n}") for n in numbers]
            assert statuses == ([0, 0, 0, 0xA700] if len(numbers) > 1 else [0xA700])
            assert side.receive(encoded(image(1, study="1.2.3")), sop_instance_uid="1.2.3.2.1") == 0x0000


def test_a_disk_that_is_nearly_full_takes_no_more_until_there_is_room(tmp_path):
    with receiving_side(tmp_path) as side:
        side.free_bytes = 10**9 - 1
        assert side.receive(IMAGE) == 0xA700
        side.free_bytes = 10**9
        assert side.receive(IMAGE) == 0x0000


def test_200_idle_and_slow_peers_keep_no_sender_out(tmp_path):
    with running_listener(tmp_path, max_associations=32) as running, ExitStack() as attackers, ExitStack() as closing:
        # Given 200 that hold on to what they can get, from another address: connected and silent, in mid-request, in
        # mid-image, associated and silent; and one of them that drips
        held = []
        for number in range(200):
            peer = attackers.enter_context(raw_peer(running.port, source="127.0.0.2"))
            try:
                peer.send((b"", associate_rq()[:50], associate_rq() + BEGUN[:-3], associate_rq())[number % 4])
            except ConnectionError:
                continue  # turned away at once
            held.append(peer)
        stop = threading.Event()
        dripping = threading.Thread(target=_drip, args=(held[2], stop))
        dripping.start()
        closing.callback(lambda: (stop.set(), dripping.join()))
        # Then a sender is let in and served at once; at which rate, the benchmark measures
        with raw_peer(running.port) as sender:
            sender.associate()
            for number in range(1, 21):
                sender.send(store(encoded(image(number)), number))
                assert sender.status() == 0x0000
        assert len(running.rows()) == 20


BEGUN = p_data(pdv(store_command(f"{STUDY}.2.1"), is_command=True)) + p_data(pdv(IMAGE[:50], is_last=False))


def _drip(peer, stop):
    while not stop.wait(0.05):
        try:
            peer.connection.send(b"\0")
        except OSError:
            return


def test_the_share_of_one_address_is_rejected_politely_and_another_is_served(tmp_path):
    with running_listener(tmp_path, max_associations=8, max_associations_per_peer=2) as running, ExitStack() as open_:
        answers = []
        for source in ("127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.1"):
            peer = open_.enter_context(raw_peer(running.port, source))
            peer.send(associate_rq())
            answers.append(peer.read())
        assert [answer[0] for answer in answers] == [ASSOCIATE_AC, ASSOCIATE_AC, ASSOCIATE_RJ, ASSOCIATE_AC]
        assert answers[2][1] == b"\0\x02\x03\x02"  # transient, presentation related, local limit exceeded


@pytest.mark.parametrize(
    ("before", "part"),
    [
        (b"", b"\x01"),  # a request for an association, byte by byte
        (associate_rq(), b"\x04\x00\x00\x00\x10\x00"),  # a PDU, byte by byte
        (associate_rq() + BEGUN, p_data(pdv(b"\0\0", is_last=False))),  # an image, two bytes a PDU
    ],
)
def test_a_peer_that_drips_is_cut_off_though_it_is_never_silent(tmp_path, before, part):
    times = {"acse_timeout_s": 1, "dimse_timeout_s": 1, "network_timeout_s": 1, "min_bytes_per_s": 10**6}
    with running_listener(tmp_path, **times) as running, raw_peer(running.port) as peer:
        peer.send(before)
        stop = threading.Event()
        dripping = threading.Thread(target=_drip_parts, args=(peer, part, stop))
        dripping.start()
        began = time.monotonic()
        try:
            while (pdu := peer.read()) is not None:
                assert pdu[0] in (ASSOCIATE_AC, ABORT)
        finally:
            stop.set()
            dripping.join()
        assert time.monotonic() - began < 8
        running.listener.stop(10)
        assert running.files() == []


def _drip_parts(peer, part, stop):
    pieces = itertools.cycle([part] if len(part) > 6 else [part[:1]] + [b"\0"] * 500)
    while not stop.wait(0.02):
        try:
            peer.connection.send(next(pieces))
        except OSError:
            return


def test_an_idle_association_is_ended_and_its_place_is_free(tmp_path):
    with running_listener(tmp_path, network_timeout_s=1, max_associations=1) as running:
        with raw_peer(running.port) as peer:
            peer.associate()
            assert peer.read()[0] == ABORT
        assert running.listener.wait_until_idle(10)
        with raw_peer(running.port) as peer:
            peer.associate()


def test_a_pdu_that_began_early_does_not_win_time_for_a_message_that_is_too_slow():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        theirs.sendall(b"\x04\0\0\0\0\x01a" + b"\x04")  # a PDU, and the first byte of another
        assert wire.read(5, 5, lambda _: 10)[0] == 0x04
        with pytest.raises(TooSlow):
            wire.read(-1, 5, lambda _: 10)
