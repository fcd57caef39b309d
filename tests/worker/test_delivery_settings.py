"""[delivery]: the destinations that are named, and [pacs] without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pirtad.worker.deliver import Destination
from pirtad.worker.ledger.deliveries import destination_names
from pirtad.worker.settings import SettingsError, load_settings
from pirtad.worker.stow import StowService
from pirtad.worker.targets import targets_of

TWO = """
[pacs]
ae_title = "OLD"
[[delivery.destinations]]
name = "pacs"
ae_title = "PACS"
host = "192.0.2.10"
picture = false
[[delivery.destinations]]
name = "cloud"
kind = "stow"
url = "https://pacs.example/dicom-web"
token_file = "/etc/pirtad/token"
"""


def test_the_one_pacs_is_the_destination_that_it_was() -> None:
    (target,) = targets_of(load_settings(None))
    assert target.name == "ORTHANC@127.0.0.1:4242"
    assert isinstance(target.peer, Destination)
    assert (target.commitment, target.measurements, target.picture) == ("auto", True, True)


def test_named_destinations_take_its_place(tmp_path: Path) -> None:
    path = tmp_path / "pirtad.toml"
    path.write_text(TWO)
    settings = load_settings(path)
    pacs, cloud = targets_of(settings)
    assert destination_names(settings) == (pacs.name, cloud.name) == ("pacs", "cloud")
    assert isinstance(cloud.peer, StowService)
    assert (cloud.commitment, pacs.commitment) == ("off", "auto")
    assert [pacs.takes(role) for role in ("narrative", "measurements", "picture", "retraction")] == [
        True, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('name = "a"\n', "needs ae_title"),
        ('name = "a@b:1"\nae_title = "A"\n', "name"),
        ('name = "a"\nae_title = "A"\nurl = "https://x"\n', "kind stow"),
        ('name = "a"\nkind = "stow"\nurl = "ftp://x"\n', "base"),
        ('name = "a"\nkind = "stow"\nurl = "https://u:p@x/"\n', "user or password"),
        ('name = "a"\nkind = "stow"\nurl = "http://x/"\ntoken_file = "/t"\n', "clear text"),
        ('name = "a"\nkind = "stow"\nurl = "https://x/"\ncommitment = "required"\n', "no storage commitment"),
        ('name = "pacs"\nae_title = "A"\n', "same name"),
    ],
)
def test_a_destination_that_makes_no_sense_is_refused(tmp_path: Path, table: str, told: str) -> None:
    path = tmp_path / "pirtad.toml"
    path.write_text(f"{TWO}[[delivery.destinations]]\n{table}")
    with pytest.raises(SettingsError, match=told):
        load_settings(path)


@pytest.mark.parametrize("text", ["", TWO, "[delivery]\ncommitment_timeout_s = 30000\n", TWO + "timeout_s = 200\n"])
def test_no_wait_that_is_meant_is_taken_for_a_clocks_mistake(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pirtad.toml"
    path.write_text(text)
    settings = load_settings(path)
    probe_s = 4 * max(target.longest_try_s for target in targets_of(settings))
    assert settings.longest_wait_s > settings.queue.backoff_cap_s + probe_s
    assert settings.longest_wait_s > settings.delivery.commitment_timeout_s
