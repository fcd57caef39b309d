"""Bad input, one after the other into one running pirtad: a reason in `status`, nothing lost, and it goes on."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage
from support import live
from support.live import Orthanc, Stack, WrittenStudy

PATIENTS = "2.25.661"
CT = "2.25.662"
NO_ADC = "2.25.663"
TRUNCATED = "2.25.664"


def variant(source: WrittenStudy, target: Path, study_uid: str, keep: str = "*.dcm") -> list[Path]:
    """A copy of a study under another StudyInstanceUID, with instances of its own."""
    target.mkdir(parents=True)
    paths = []
    for number, path in enumerate(sorted(source.directory.glob(keep))):
        dataset = dcmread(path)
        dataset.StudyInstanceUID = study_uid
        dataset.SeriesInstanceUID = f"{study_uid}.{1 if path.name.startswith('dwi') else 2}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study_uid}.{number + 10}"
        paths.append(target / path.name)
        dataset.save_as(paths[-1])
    return paths


def test_bad_input_is_told_and_the_daemon_goes_on(
    stack: Stack, orthanc: Orthanc, ten_studies: list[WrittenStudy], tmp_path: Path
) -> None:
    good = ten_studies[1]
    destination = f"127.0.0.1:{stack.listener_port}"

    # Given a CT study,
    for path in variant(good, tmp_path / "ct", CT):
        dataset = dcmread(path)
        dataset.Modality, dataset.SOPClassUID = "CT", CTImageStorage
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.save_as(path)
    # a DWI without its ADC,
    variant(good, tmp_path / "no_adc", NO_ADC, keep="dwi*.dcm")
    # two patients under one StudyInstanceUID,
    for path in variant(good, tmp_path / "patients", PATIENTS)[::2]:
        dataset = dcmread(path)
        dataset.PatientID, dataset.PatientName = "OTHER", "Other^Patient"
        dataset.save_as(path)
    # a study with an image that was cut off in its pixels,
    cut = variant(good, tmp_path / "truncated", TRUNCATED)[3]
    cut.write_bytes(cut.read_bytes()[:-2000])

    with stack.listener(), stack.worker():
        # When all of it is sent, and then a good study, twice
        for name in ("ct", "no_adc", "patients", "truncated"):
            stack.call("send", str(tmp_path / name), destination)
        stack.call("send", str(good.directory), destination)
        stack.wait_until([good.study_uid], "reported", 180)
        stack.call("send", str(good.directory), destination)
        stack.wait_until([CT, NO_ADC, PATIENTS, TRUNCATED], "set_aside", 60)

    # Then each has its reason,
    seen = {row["study_uid"]: row for row in stack.told()["studies"]}
    codes = {uid: seen[uid]["reason_code"] for uid in (CT, NO_ADC, PATIENTS, TRUNCATED)}
    assert codes == {CT: "not_mr", NO_ADC: "no_adc", PATIENTS: "two_patients", TRUNCATED: "truncated_instance"}
    assert all(seen[uid]["reason"] and seen[uid]["hint"] for uid in codes)
    assert not any(word in str(seen) for word in ("OTHER", "Other^", "Live^")), "no patient data in the status"

    # the study that came again was not reported again,
    assert seen[good.study_uid]["duplicates"] == seen[good.study_uid]["images"] > 0
    assert len(orthanc.reports()) == 1

    # and every image is in the spool
    sent = sum(1 for name in ("ct", "no_adc", "patients", "truncated") for _ in (tmp_path / name).glob("*.dcm"))
    sent += sum(1 for _ in good.directory.glob("*.dcm"))
    assert sum(1 for _ in (stack.directory / "data" / "spool").rglob("*.dcm")) == sent


def test_an_association_without_an_image_is_noticed(stack: Stack) -> None:
    with stack.listener():
        scu = AE("NOBODY")
        scu.add_requested_context(MRImageStorage)
        association = scu.associate("127.0.0.1", stack.listener_port, ae_title="PIRTAD")
        assert association.is_established
        association.release()
        notice = live.wait_for(lambda: stack.told()["notices"], 20, "a notice")[0]
    assert notice["kind"] == "empty_association"
    assert "NOBODY" in notice["text"]
