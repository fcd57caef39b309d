"""The writer of synthetic studies, checked by readers that are not ours: dcm2niix and nibabel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from support.vendor_writer.anatomy import MARKS, Anatomy
from support.vendor_writer.csa import csa_header, diffusion_tags
from support.vendor_writer.distractors import DISTRACTORS, add_distractor
from support.vendor_writer.files import SYNTAXES, write, write_all
from support.vendor_writer.hits import nests_of
from support.vendor_writer.moments import Clock
from support.vendor_writer.raster import Plane, Position, raster
from support.vendor_writer.shots import DIRECTIONS
from support.vendor_writer.stored import Stated, map_encoding, signal_encoding
from support.vendor_writer.study import Packing, StudyPlan, build, points_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel calls its DICOM readers experimental when they are imported
    import nibabel
    from nibabel.nicom import csareader, dicomwrappers

SLICES = 12


@pytest.fixture(scope="module")
def converter() -> str:
    found = shutil.which("dcm2niix", path=str(Path(sys.executable).parent)) or shutil.which("dcm2niix")
    assert found, "dcm2niix is a development dependency: make install"
    return found


def converted(converter: str, source: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The one image that dcm2niix makes of a folder, and its affine to LPS."""
    out.mkdir()
    command = [converter, "-z", "n", "-p", "n", "-b", "n", "-m", "y", "-f", "image", "-o", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    images = [nibabel.load(path) for path in sorted(out.glob("*.nii"))]
    assert len(images) == 1
    return np.asarray(images[0].dataobj, dtype=np.float64), np.diag([-1.0, -1, 1, 1]) @ images[0].affine


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize(
    ("plane", "position", "reverse"),
    [
        (Plane.OBLIQUE, Position.HFS, False),
        (Plane.AXIAL, Position.FFP, True),
        (Plane.CORONAL, Position.HFDR, False),
        (Plane.SAGITTAL, Position.HFP, True),
    ],
)
def test_dcm2niix_finds_the_truth_in_place(
    converter: str, tmp_path: Path, packing: Packing, plane: Plane, position: Position, reverse: bool
):
    # Given a map and one direction of a raw series
    where = raster(plane, position, gap_mm=13.0, reverse=reverse)
    study = build(StudyPlan(packing, raw=True, where=where, map=map_encoding(1e-6, Stated.NOWHERE)))
    a_volume = 1 if len(study.series["map"]) == 1 else SLICES
    raw = study.series["raw"]
    second = raw if packing is Packing.ENHANCED else raw[a_volume : 2 * a_volume]
    # dcm2niix gives up on Siemens images whose instance numbers are no spatial order; ours must not care.
    for datasets in (study.series["map"], second):
        for number, dataset in enumerate(datasets, start=1):
            dataset.InstanceNumber = number
    write_all(study.series["map"], tmp_path / "map")
    write_all(second, tmp_path / "raw")

    # When dcm2niix converts them
    diffusivity, affine = converted(converter, tmp_path / "map", tmp_path / "map.out")
    signal, raw_affine = converted(converter, tmp_path / "raw", tmp_path / "raw.out")

    # Then every voxel shows what is where the header says
    truth = Anatomy().adc(points_of(diffusivity.shape, affine)) * 1e6
    assert np.abs(diffusivity - truth).max() < 0.51
    volume = signal[..., 1] if signal.ndim == 4 else signal
    truth = Anatomy().weighted(points_of(volume.shape, raw_affine), 1000.0, DIRECTIONS[3][0])
    assert np.abs(volume - truth).max() < 0.51


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("plane", Plane)
def test_nibabel_reads_mosaics_in_place(tmp_path: Path, plane: Plane, reverse: bool):
    where = raster(plane, reverse=reverse)
    dataset = build(StudyPlan(Packing.SIEMENS_MOSAIC, where=where)).series["map"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "A DICOM Siemens mosaic..." is experimental in nibabel
        wrapped = dicomwrappers.wrapper_from_file(write(dataset, tmp_path / "mosaic.dcm"))
        found, affine = wrapped.get_data(), wrapped.affine
    truth = Anatomy().adc(points_of(found.shape, affine)) * 1e6
    assert np.abs(found - truth).max() < 1.0


def test_nibabel_reads_the_csa_header():
    tags = diffusion_tags(1000.0, (0.6, 0.0, 0.8), (0.0, 0.0, -1.0))
    read = csareader.read(csa_header(tags | {"NumberOfImagesInMosaic": ("US", ["25"])}))
    assert read["tags"]["B_value"]["items"] == [1000]
    assert csareader.get_g_vector(read) == pytest.approx([0.6, 0.0, 0.8])
    assert csareader.get_slice_normal(read) == pytest.approx([0.0, 0.0, -1.0])
    assert csareader.get_n_mosaic(read) == 25


@pytest.mark.parametrize("position", Position)
@pytest.mark.parametrize("plane", Plane)
def test_every_stack_holds_all_marks_once(plane: Plane, position: Position):
    # Each mark, and nothing else, has its diffusivity, and lies on its side of the head.
    points = raster(plane, position, gap_mm=13.0).points()
    adc = Anatomy().adc(points)
    for mark in MARKS.values():
        centre = points[np.abs(adc - mark.adc_mm2_per_s) < 1e-9].mean(axis=0)
        assert np.linalg.norm(centre - mark.centre_mm) < 6.0


def test_the_scanner_lies_the_patient_down_as_the_standard_says():
    # PS3.3 C.7.3.1.1.2: the floor (the scanner's +y, down an axial image) is to the back of a supine patient, to the
    # front of a prone one, to the right of one on the right side; slices go to the feet of one who lies feet first.
    down = {position: raster(Plane.AXIAL, position).cosines[1] for position in Position}
    along = {position: raster(Plane.AXIAL, position).normal[2] for position in Position}
    assert down[Position.HFS] == pytest.approx([0, 1, 0])
    assert down[Position.FFS] == pytest.approx([0, 1, 0])
    assert down[Position.HFP] == pytest.approx([0, -1, 0])
    assert down[Position.FFP] == pytest.approx([0, -1, 0])
    assert down[Position.HFDR] == pytest.approx([-1, 0, 0])
    assert down[Position.HFDL] == pytest.approx([1, 0, 0])
    assert {p for p, z in along.items() if z < 0} == {Position.FFS, Position.FFP}


@pytest.mark.parametrize("count", [3, 6])
def test_directions_average_to_the_trace(count: int):
    points = raster().points()
    head = Anatomy()
    logs = [np.log(head.weighted(points, 1000.0, direction)) for direction in DIRECTIONS[count]]
    assert np.exp(np.mean(logs, axis=0)) == pytest.approx(head.trace(points, 1000.0), rel=1e-6)


@pytest.mark.parametrize("packing", [Packing.PHILIPS, Packing.SIEMENS_MOSAIC, Packing.UIH_GRID, Packing.ENHANCED])
def test_transfer_syntaxes_hold_the_same_image(tmp_path: Path, packing: Packing):
    plan = StudyPlan(packing, crowded=True, signal=signal_encoding(slope=1.5, signed=True))
    dataset = build(plan).series["trace"][0]
    expected = dcmread(write(dataset, tmp_path / "plain.dcm", ExplicitVRLittleEndian))
    assert expected.pixel_array.min() < 0
    for syntax in SYNTAXES:
        found = dcmread(write(dataset, tmp_path / f"{syntax}.dcm", syntax))
        assert found.file_meta.TransferSyntaxUID == syntax
        assert found.SOPInstanceUID == expected.SOPInstanceUID
        assert np.array_equal(found.pixel_array, expected.pixel_array)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("stated", Stated)
@pytest.mark.parametrize("signed", [False, True])
def test_maps_lead_back_to_diffusivity(unit: float, stated: Stated, signed: bool):
    plan = StudyPlan(map=map_encoding(unit, stated, signed=signed))
    dataset = build(plan).series["map"][5]
    kind = "<i2" if signed else "<u2"
    stored = np.frombuffer(dataset.PixelData, dtype=kind).reshape(plan.where.size).astype(float)
    if stated is Stated.MAPPING:
        item = dataset.RealWorldValueMappingSequence[0]
        value = stored * item.RealWorldValueSlope + item.RealWorldValueIntercept
    else:
        value = stored * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    truth = Anatomy().adc(plan.where.points()[5])
    assert np.abs(value * unit - truth).max() < 0.51e-6


@pytest.mark.parametrize("name", DISTRACTORS)
def test_distractors_are_whole_files(tmp_path: Path, name: str):
    study = build(StudyPlan())
    before = {dataset.SOPInstanceUID for dataset in study.instances()}
    add_distractor(study, name)
    images = []
    for number, dataset in enumerate(study.series[name]):
        read = dcmread(write(dataset, tmp_path / f"{number}.dcm"))
        assert read.SOPInstanceUID not in before
        if "PixelData" in read:
            images.append(read.pixel_array)
    assert not images or np.max(images) > 0


@pytest.mark.parametrize("packing", [Packing.PHILIPS, Packing.SIEMENS_MOSAIC, Packing.UIH_GRID])
def test_volumes_are_numbered_and_timed(packing: Packing):
    def moments(series: str, clock: Clock) -> list[tuple[object, ...]]:
        keywords = ("AcquisitionNumber", "AcquisitionTime", "TemporalPositionIdentifier")
        datasets = build(StudyPlan(packing, raw=True, clock=clock, repeats=2)).series[series]
        return sorted({tuple(dataset.get(keyword) for keyword in keywords) for dataset in datasets}, key=str)

    # A repeat is told from the first; or each of twice four volumes, and maps have the time of the first, or of none.
    assert moments("raw", Clock.SHARED) == [(1, "102000", None), (2, "102001", 2)]
    every = [(n, f"10200{n - 1}", n) for n in range(1, 9)]
    for clock in (Clock.VOLUMES, Clock.VOLUMES_UNDATED_MAPS):
        assert moments("raw", clock) == every
    assert moments("trace", Clock.VOLUMES) == [every[0], every[4]]
    assert moments("map", Clock.VOLUMES) == [every[0]]
    for series in ("trace", "map"):
        assert moments(series, Clock.VOLUMES_UNDATED_MAPS) == [(None, None, None)]


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("packing", Packing)
def test_undeclared_directions_keep_their_b_value_alone(packing: Packing, crowded: bool):
    # Given the same study with directions declared and not
    plan = StudyPlan(packing, raw=True, derived=False, crowded=crowded)
    declared, undeclared = build(plan).series["raw"], build(replace(plan, undeclared=True)).series["raw"]

    def texts(datasets: list[Dataset]) -> list[str]:
        """Of weighted volumes: what stands in their headers, less what tells images apart."""
        found = []
        for dataset in datasets:
            for at, nest in enumerate(nests_of(dataset)):
                if nest.get("DiffusionBValue") == 1000.0 and (at or packing is not Packing.ENHANCED):
                    left = deepcopy(nest)
                    for keyword in ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "PixelData"):
                        if keyword in left:
                            delattr(left, keyword)
                    for tag in [element.tag for element in left if element.VR == "SQ"]:
                        del left[tag]
                    found.append(str(left))
        return found

    # Then the directions' headers are all alike once nothing declares them
    assert len(set(texts(undeclared))) == 1
    assert len(texts(undeclared)) == (3 if len(undeclared) == 4 else 3 * SLICES)
    assert "DiffusionDirectionality" not in texts(undeclared)[0]
    assert len(declared) == len(undeclared)
