"""The page and its JSON over a ledger with a study in every state. The queue is not running unless a test says so."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from fastapi.testclient import TestClient
from support.filled_ledger import REPORT, fill, receive, uid_of
from support.web import NOW

from pirtad.worker.contract import StudyState
from pirtad.worker.ledger.database import Database

NASTY = """<script>alert("1")</script><img src=x onerror='alert(2)'>{{ 7*7 }}&"""


class Outline(HTMLParser):
    """Which elements there are, which are left open, and the text."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def words(self) -> str:
        return " ".join(" ".join(self.pieces).split())


def page(web: TestClient, path: str, status: int = 200) -> Outline:
    answer = web.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    outline = Outline(answer.text)
    assert outline.open == []
    return outline


def test_the_queue_page_shows_each_study_with_state_age_and_reason(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)

    shown = page(web, "/").words()

    for state in StudyState:
        assert uid_of(state) in shown
        assert f"1 {state.replace('_', ' ')}" in shown
    assert "receiving 50 min 4 SCANNER1" in shown
    assert "set aside 15 min 4 1 no DWI series with b between 800 and 1500 s/mm2" in shown
    assert "Send the diffusion series, then retry." in shown
    assert "waiting prepare 35 min 4 1 no TCP connection to ORTHANC" in shown
    assert "reported 30 min 4 1 anterior" in shown
    assert "2 min ago empty association CT1 sent nothing" in shown


def test_the_page_works_without_the_queue_and_says_so(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)
    assert "Queue not reachable." in page(web, "/").words()
    assert web.get("/api/studies").json()["queues"] is None
    assert web.get("/api/queues").status_code == 503


def test_an_empty_ledger_makes_an_empty_page(web: TestClient) -> None:
    assert "No study yet." in page(web, "/").words()
    assert "No study is failed or waiting." in page(web, "/?state=failed&state=waiting").words()


def test_a_state_can_be_chosen(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)

    shown = page(web, "/?state=failed")

    assert uid_of(StudyState.FAILED) in shown.text
    assert uid_of(StudyState.REPORTED) not in shown.text
    current = [attrs for tag, attrs in shown.tags if attrs.get("aria-current")]
    assert [attrs["href"] for attrs in current] == ["/?state=failed"]
    assert web.get("/?state=nonsense").status_code == 422
    listed = web.get("/api/studies", params={"state": "failed"}).json()["studies"]
    assert [study["study_uid"] for study in listed] == [uid_of(StudyState.FAILED)]


def test_it_refreshes_itself_unless_told_not_to(web: TestClient) -> None:
    def refresh(path: str) -> list[str | None]:
        return [attrs["content"] for tag, attrs in page(web, path).tags if attrs.get("http-equiv") == "refresh"]

    assert refresh("/") == ["5"]
    assert refresh("/?refresh=0") == []
    assert refresh("/?refresh=60&state=failed") == ["60"]


def test_two_hundred_studies_are_listed(web: TestClient, ledger: Database) -> None:
    for number in range(201):
        receive(ledger, f"1.2.3.{number}", NOW - number, images=1, series=1)

    shown = page(web, "/")

    assert sum(1 for tag, attrs in shown.tags if tag == "a" and "/studies/" in (attrs["href"] or "")) == 200
    assert "The newest 200 are shown." in shown.words()
    assert "201 all" in shown.words()


def test_a_study_page_has_report_banner_series_deliveries_and_events(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)

    shown = page(web, f"/studies/{uid_of(StudyState.REPORTED)}")

    assert REPORT in shown.text
    assert "AI DRAFT – NOT REVIEWED – not for diagnosis" in shown.words()
    # The banner stands before the report.
    assert shown.text.index("NOT REVIEWED –") < shown.text.index("Findings:")
    assert "ORTHANC@127.0.0.1:4242" in shown.text
    assert "0x0000" in shown.text
    assert f"MR 2 {uid_of(StudyState.REPORTED)}.2" in shown.words()
    kinds = re.findall(r"(study opened|complete|started|finished|delivered)", shown.words().partition("Events")[2])
    assert kinds[0] == "study opened"
    assert kinds[-1] == "delivered"


def test_a_shelved_study_says_how_to_start_it_again(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)
    for state in StudyState:
        shown = page(web, f"/studies/{uid_of(state)}").words()
        can_retry = state in (
            *(StudyState.SET_ASIDE, StudyState.FAILED, StudyState.CANCELLED),
            StudyState.WITHDRAWN,
        )
        assert (f"pirtad retry {uid_of(state)}" in shown) == can_retry
        has_report = state in (StudyState.REPORTED, StudyState.WITHDRAWING, StudyState.WITHDRAWN)
        assert ("AI DRAFT" in shown) == has_report
        assert (f"pirtad retract {uid_of(state)}" in shown) == (state is StudyState.REPORTED)


def test_a_withdrawn_report_is_shown_as_one(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)
    queue = page(web, "/").words()
    assert "withdrawn 20 min 4 1 anterior Rejected for Quality Reasons: Motion made it useless." in queue
    assert "withdrawing deliver 25 min" in queue
    assert "Motion made it useless.; no TCP connection to ORTHANC" in queue
    # The banner says so before the report is read, and each object that the note names is marked
    shown = page(web, f"/studies/{uid_of(StudyState.WITHDRAWN)}").words()
    assert "WITHDRAWN – AI DRAFT – NOT REVIEWED" in shown.partition("Findings:")[0]
    assert "code 113001" in shown
    table = shown.partition("Deliveries")[2].partition("Series")[0]
    assert re.search(r"narrative ORTHANC@127.0.0.1:4242 \S+ \S+ , withdrawn 0x0000", table)
    assert re.search(r"retraction ORTHANC@127.0.0.1:4242 \S+ \S+ 0x0000", table)
    assert "TO BE WITHDRAWN – AI DRAFT" in page(web, f"/studies/{uid_of(StudyState.WITHDRAWING)}").words()
    assert "WITHDRAWN" not in page(web, f"/studies/{uid_of(StudyState.REPORTED)}").words()


def test_an_unknown_study_is_not_found(web: TestClient) -> None:
    assert "not known here" in page(web, "/studies/1.2.3", status=404).words()
    assert web.get("/api/studies/1.2.3").json() == {"detail": "This study is not known here."}
    assert web.get("/api/studies/1.2.3").status_code == 404
    page(web, "/nothing/here", status=404)
    page(web, f"/studies/{NASTY}", status=404)


def test_free_text_is_escaped(web: TestClient, ledger: Database) -> None:
    # Given markup wherever a sender, a PACS or a language model could put some
    fill(ledger, NOW, NASTY)
    paths = ["/", *(f"/studies/{uid_of(state)}" for state in StudyState)]
    seen = 0
    for path in paths:
        shown = page(web, path)
        # Then it is text, and no element
        assert not {tag for tag, _ in shown.tags} & {"script", "img"}
        assert not any(name.startswith("on") for _, attrs in shown.tags for name in attrs)
        seen += shown.text.count(NASTY)
    assert seen >= 6


def test_the_json_has_what_the_page_has(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)

    listed = web.get("/api/studies").json()
    one = web.get(f"/api/studies/{uid_of(StudyState.SET_ASIDE)}").json()

    assert listed["counts"] == {str(state): 1 for state in StudyState}
    assert {study["study_uid"] for study in listed["studies"]} == {uid_of(state) for state in StudyState}
    assert one["study"]["reason_code"] == "no_dwi"
    assert one["events"][-1]["data"] == {"code": "no_dwi"}


def test_every_answer_forbids_caching_framing_and_foreign_content(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)
    for path in ("/", "/style.css", "/api/studies", "/metrics", "/healthz", "/readyz", "/nothing"):
        headers = web.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
    # Nothing on the pages comes from elsewhere.
    for path in ("/", f"/studies/{uid_of(StudyState.REPORTED)}"):
        for _, attrs in page(web, path).tags:
            for name in ("src", "href"):
                assert (attrs.get(name) or "/").startswith(("/", "data:,"))
    assert "url(" not in web.get("/style.css").text


def test_health_is_alive_and_ready_names_what_is_missing(web: TestClient) -> None:
    assert web.get("/healthz").json()["name"] == "pirtad"

    answer = web.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "ledger": True, "queue": False}


def test_a_ledger_that_fails_is_said_and_not_raised(web: TestClient, ledger: Database) -> None:
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE studies RENAME TO elsewhere")

    assert web.get("/readyz").json()["ledger"] is False
    assert "The ledger can't be reached." in page(web, "/", status=503).words()
    assert web.get("/api/studies").status_code == 503
    assert 'pirtad_up{service="ledger"} 0.0' in web.get("/metrics").text
    assert web.get("/healthz").status_code == 200


def test_a_page_on_loopback_answers_to_its_own_names_alone(web: TestClient) -> None:
    assert web.get("/", headers={"Host": "rebound.example"}).status_code == 400
    assert web.get("/", headers={"Host": "localhost:8042"}).status_code == 200
