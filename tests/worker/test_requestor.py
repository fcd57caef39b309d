"""An answer is the request's that waits for it, whatever pynetdicom's reactor does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from pirtad.worker.requestor import keep_answers


@pytest.fixture
def association() -> Iterator[Association]:
    acceptor = AE()
    acceptor.add_supported_context(Verification)
    server = acceptor.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0)])
    entity = AE()
    entity.dimse_timeout = 5
    entity.add_requested_context(Verification)
    made = entity.associate("127.0.0.1", server.server_address[1])
    assert made.is_established
    yield made
    made.release()
    server.shutdown()


def test_the_reactor_takes_no_answer_away(association: Association) -> None:
    # Given a message that has come, and a reactor that looks for one before its pause has begun
    keep_answers(association)
    message = object()
    association.dimse.msg_queue.put((1, message))
    # Then it finds nothing, and the request that waits finds its answer
    assert association.dimse.get_msg(block=False) == (None, None)
    assert association.dimse.get_msg(block=True) == (1, message)


def test_requests_are_answered_and_the_association_ends_as_ever(association: Association) -> None:
    keep_answers(association)
    assert [association.send_c_echo().Status for _ in range(3)] == [0, 0, 0]
    association.release()
    assert association.is_released
