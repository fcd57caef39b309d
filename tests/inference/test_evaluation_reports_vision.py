"""The vision-language baseline against a stand-in server on this machine: no such model is part of the tests, so they
show that it is asked rightly, not what one would answer."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server

import numpy as np
import pytest
from PIL import Image

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.evaluation.reports.claims import claims_of
from pirtad.inference.evaluation.reports.vision_baseline import Slice, VisionModel, direct_report, slice_png
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.report.report import Registry
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase

REGISTRY = Registry(75, "Female", "Dysarthria", 4.0, "HTN")
SAID = (
    "Findings: There is a diffusion restriction in the posterior circulation territory.\nImpression: Acute infarction"
)


@pytest.fixture
def case() -> SimulatedCase:
    """A brain of slices 8 to 39, its lesion on the left, at the back, in slices 10 to 17."""
    array = np.zeros((2, *SHAPE), dtype=np.float16)
    array[:, 20:76, 20:90, 8:40] = 1
    lesion = np.zeros(SHAPE, dtype=np.bool_)
    lesion[60:70, 75:85, 10:18] = True
    array[0][lesion] = 4
    finding = Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
    return SimulatedCase(
        CaseRecipe(300_001, Territory.POSTERIOR), array, lesion, np.zeros(SHAPE, np.uint8), finding, "left", False, 1.6,
        {Territory.POSTERIOR: 1.0}, 0.5e-3,
    )  # fmt: skip


class StandIn:
    """Keeps requests, answers with `status` and `content`."""

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.status, self.content = 200, SAID
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stand_in.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                message = {"role": "assistant", "content": stand_in.content}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                raw = json.dumps(body).encode()
                self.send_response(stand_in.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_model_is_sent_one_slice_the_format_and_the_registry(stand_in: StandIn, case: SimulatedCase) -> None:
    said = direct_report(VisionModel(stand_in.url, "vlm"), case, REGISTRY, Slice.LESION)
    assert said is not None
    assert claims_of(said.text).territory is Territory.POSTERIOR
    (request,) = stand_in.requests
    assert (request["model"], request["temperature"]) == ("vlm", 0)
    text, image = request["messages"][0]["content"]
    assert "Example of the format" in text["text"]
    assert "75-year-old, Female, Dysarthria, 4.0, HTN," in text["text"]
    head, sent = image["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(sent) == slice_png(case, Slice.LESION)


def test_a_slice_lies_as_radiologists_look_at_it(case: SimulatedCase) -> None:
    # The lesion is on the patient's left and at the back: right and low in the picture.
    grey = pixels(slice_png(case, Slice.LESION))
    assert grey.shape == (448, 384)
    rows, columns = np.nonzero(grey > 200)
    assert columns.mean() / 4 == pytest.approx(64.5, abs=1)
    assert rows.mean() / 4 == pytest.approx(79.5, abs=1)
    # The middle slice does not show it.
    assert pixels(slice_png(case, Slice.MIDDLE)).std() < grey.std()


def test_no_text_is_no_report_and_a_refusal_stops_the_run(stand_in: StandIn, case: SimulatedCase) -> None:
    model = VisionModel(stand_in.url, "vlm", timeout_s=5)
    stand_in.content = ""
    assert direct_report(model, case, REGISTRY, Slice.MIDDLE) is None
    stand_in.status = 500
    with pytest.raises(LanguageModelUnavailable, match="500"):
        direct_report(model, case, REGISTRY, Slice.MIDDLE)
    with create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LanguageModelUnavailable, match="reached"):
        VisionModel(f"http://127.0.0.1:{port}/v1", "vlm", timeout_s=5).answer("p", b"png")
