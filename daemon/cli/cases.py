"""`pirtad cases`: the case base that similar cases are retrieved from."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, printable, settings_of, stop
from pirtad.daemon.cli.offline import Adc, BValue, Dwi, OptionalFolder, prepared_from
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.daemon.cli.case_table import Row
    from pirtad.inference.models.encoder import Encoder
    from pirtad.inference.retrieval.case import Case
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.inference.retrieval.index import IndexKind
    from pirtad.inference.retrieval.patients import Pseudonyms
    from pirtad.worker.settings import Settings

app = typer.Typer(help="Build, extend, search and describe the case base.", no_args_is_help=True, rich_markup_mode=None)

_TABLE_HELP = (
    'JSON Lines, one case a line: "case_id", "finding" (territory, signal_class, infarct_type), "report", '
    '"provenance", and either "study" (folder) or "dwi" and "adc" (NIfTI), relative to the table; "patient" (any '
    "number; a salted digest is kept) if known. Or CSV with the columns case, territory, signal_class, infarct_type, "
    "report, patient, and study (a folder with DICOM or NIfTI) or dwi and adc."
)


class Layout(StrEnum):
    """Public sets whose folders are known."""

    ISLES2022 = "isles2022"
    SOOP = "soop"
    UKB = "ukb"


class Kind(StrEnum):
    """retrieval.index.IndexKind, which would import FAISS for a help text."""

    EXACT = "exact"
    HNSW = "hnsw"
    IVF = "ivf"


_Table = Annotated[Path | None, typer.Option("--table", exists=True, dir_okay=False, help=_TABLE_HELP)]
_Layout = Annotated[Layout | None, typer.Option("--layout", help="Or a public set, with --root and --reports.")]
_Root = Annotated[Path | None, typer.Option("--root", exists=True, file_okay=False, help="Folder of that set.")]
_Reports = Annotated[
    Path | None,
    typer.Option(
        "--reports",
        exists=True,
        dir_okay=False,
        help="CSV with the columns case, territory, signal_class, infarct_type, and report if there is one: a row for "
        "each case of that set, or nothing is written and what lacks one is listed.",
    ),
]
_Review = Annotated[
    Path | None,
    typer.Option(
        "--review",
        dir_okay=False,
        help="CSV for the reports that the rules are not certain of: fill in `accepted` or corrected_*, call again. "
        "Lets a CSV have `report` alone.",
    ),
]
_Kind = Annotated[
    Kind | None,
    typer.Option("--kind", help="Index.  [default: exact to 50,000 cases, hnsw to 500,000, ivf beyond]"),
]


@app.command(
    epilog="\b\nExamples:\n  pirtad cases build ./case_base --table cases.jsonl\n"
    "  pirtad cases build ./case_base --layout isles2022 --root ./ISLES-2022 --reports findings.csv\n"
    "  pirtad cases build ./case_base --simulated 400"
)
def build(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Folder for the case base.")],
    table: _Table = None,
    layout: _Layout = None,
    root: _Root = None,
    reports: _Reports = None,
    review: _Review = None,
    simulated: Annotated[int | None, typer.Option(min=4, help="Or so many simulated cases.")] = None,
    training_normals: Annotated[
        int, typer.Option(min=0, help="With --simulated: the normal ones of so many training cases too.")
    ] = 0,
    test_cases: Annotated[
        int, typer.Option(min=0, help="Held-out simulated studies that retrieval is scored on, with --simulated.")
    ] = 0,
    lesions: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="With --simulated: zip of lesion masks to show.")
    ] = None,
    territories: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TSV with the voxels of each mask by territory.")
    ] = None,
    cache: Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")] = DEFAULT_CACHE,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    kind: _Kind = None,
) -> None:
    """Encode cases and write a new case base.

    Nothing is written if a case can't be used; exit 1 then, with every such case named.
    """
    if [table, layout, simulated].count(None) != 2:
        raise typer.BadParameter("give one of --table, --layout and --simulated")
    settings = settings_of(context)
    with _mismatches_told():
        if simulated is None:
            _build(settings, _source(table, layout, root, reports, review), directory, kind)
        else:
            if review is not None:
                raise typer.BadParameter("--review goes with --table and --layout")
            if kind is not None:
                raise typer.BadParameter("--kind goes with --table and --layout")
            if (lesions is None) != (territories is None):
                raise typer.BadParameter("--lesions and --territories go together")
            from pirtad.inference.simulation.lesion_masks import LesionFiles
            from pirtad.inference.training.build import CaseBaseConfig, build_simulated_case_base

            weights = _weights(settings)
            shown = None if lesions is None else LesionFiles(lesions, territories)
            build_simulated_case_base(
                CaseBaseConfig(
                    cache=cache,
                    encoder=weights,
                    out=directory,
                    cases=simulated,
                    training_normals=training_normals,
                    test_cases=test_cases,
                    workers=workers,
                    lesion_files=shown,
                )
            )


@app.command(
    epilog="\b\nExamples:\n  pirtad cases add more.jsonl\n"
    "  pirtad cases add --layout soop --root ./ds004889 --reports findings.csv --new-only"
)
def add(
    context: typer.Context,
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", exists=True, dir_okay=False, help=_TABLE_HELP)
    ] = None,
    layout: _Layout = None,
    root: _Root = None,
    reports: _Reports = None,
    review: _Review = None,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="Pass over cases that are in the case base already.")
    ] = False,
    kind: _Kind = None,
) -> None:
    """Encode cases and add them to the configured case base (inference.case_base_dir).

    Workers read the case base when they start. Exit 1 as for `build`, and if another process changed the case base
    meanwhile; 4 if no case base is configured: the one that ships is never changed.
    """
    from pirtad.daemon.cli.case_table import encode
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.inference.retrieval.patients import Pseudonyms
    from pirtad.worker.selection import selection_rules

    if (table is None) == (layout is None):
        raise typer.BadParameter("give either TABLE or --layout")
    settings = settings_of(context)
    directory = settings.inference.case_base_dir
    if directory is None:
        stop(Exit.NOT_POSSIBLE, "inference.case_base_dir is not set, and the case base that ships is not changed")
    with _mismatches_told():
        encoder = _encoder(settings)
        base = CaseBase.load(directory, encoder.manifest)
        pseudonyms = base.pseudonyms or Pseudonyms.fresh()
        rows = _source(table, layout, root, reports, review)(pseudonyms)
        there = {case.case_id for case in base.cases}
        twice = [row.case.case_id for row in rows if row.case.case_id in there]
        if twice and not new_only:
            stop(Exit.NOT_POSSIBLE, f"in the case base already: {', '.join(twice)}")
        fresh = [row for row in rows if row.case.case_id not in there]
        if not fresh:
            typer.echo(f"nothing new; {len(base.cases)} cases in {directory}")
            return
        cases, vectors = encode(fresh, encoder, selection_rules(settings), pseudonyms)
        grown = base.add(cases, vectors, kind=_index_kind(kind), pseudonyms=_used(pseudonyms, cases))
        saved = grown.save(directory)
    if twice:
        typer.echo(f"{len(twice)} passed over: in the case base already")
    _tell(saved, directory)


@app.command(epilog="\b\nExample:\n  pirtad cases search ./study -k 10")
def search(
    context: typer.Context,
    directory: OptionalFolder = None,
    dwi: Dwi = None,
    adc: Adc = None,
    b_value: BValue = 1000.0,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Cases shown.  [default: as in [inference]]")] = None,
    without_own_patient: Annotated[
        bool, typer.Option("--without-own-patient", help="Leave out cases of the patient that DIR's headers name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the cases most similar to one study, one case a patient; no report is written."""
    if without_own_patient and directory is None:
        raise typer.BadParameter("--without-own-patient needs DIR: NIfTI names no patient")
    settings = settings_of(context)
    with _mismatches_told():
        prepared = prepared_from(settings, directory, dwi, adc, b_value)
        encoder = _encoder(settings)
        vector = encoder.encode(prepared.network_input.array)
        base = _case_base(settings, encoder)
        own = _own_patient(base, prepared.patient_id) if without_own_patient else None
        similar = base.search(vector, k or settings.inference.similar_cases, exclude_patient=own)
    if as_json:
        typer.echo(json.dumps([asdict(case) for case in similar], indent=2))
        return
    for rank, case in enumerate(similar, start=1):
        typer.echo(printable(f"{rank:3}  {case.similarity:.3f}  {case.case_id}  {case.finding}"))


@app.command(epilog="\b\nExample:\n  pirtad cases info")
def info(context: typer.Context, as_json: AsJson = False) -> None:
    """Describe the case base in force: number of cases by territory, digests."""
    settings = settings_of(context)
    with _mismatches_told():
        found = _case_base(settings, _encoder(settings)).info()
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    typer.echo(f"{found.cases} cases of {found.patients} patients, {found.kind} index, version {found.version}")
    for territory, number in found.cases_by_territory.items():
        typer.echo(f"  {number:6}  {territory.phrase}")
    typer.echo(f"case base sha256  {found.sha256}")
    typer.echo(f"encoder sha256    {found.encoder_sha256}")
    typer.echo(f"preprocessing     {found.preprocessing_version}")


@contextmanager
def _mismatches_told() -> Iterator[None]:
    """Exit 1 for models that don't belong together, studies that can't be used and tables with mistakes."""
    from pirtad.daemon.cli.case_table import TableError
    from pirtad.inference.errors import InferenceError

    try:
        yield
    except InferenceError as error:
        stop(Exit.FAILED, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    except (TableError, OSError) as error:
        stop(Exit.FAILED, str(error))


def _source(
    table: Path | None, layout: Layout | None, root: Path | None, reports: Path | None, review: Path | None = None
) -> Callable[[Pseudonyms], list[Row]]:
    """Where the cases come from; read only when called, so that wrong usage is told first."""
    from pirtad.daemon.cli.case_table import read_layout, read_table

    if layout is None and table is not None:
        if root is not None or reports is not None:
            raise typer.BadParameter("--root and --reports go with --layout")
        return lambda _pseudonyms: read_table(table, review)
    if layout is None or root is None or reports is None:
        raise typer.BadParameter("--layout needs --root and --reports")
    return lambda pseudonyms: read_layout(layout, root, reports, pseudonyms, review)


def _build(settings: Settings, source: Callable[[Pseudonyms], list[Row]], directory: Path, kind: Kind | None) -> None:
    from pirtad.daemon.cli.case_table import encode
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.inference.retrieval.patients import Pseudonyms
    from pirtad.worker.selection import selection_rules

    pseudonyms = Pseudonyms.fresh()
    rows = source(pseudonyms)
    encoder = _encoder(settings)
    cases, vectors = encode(rows, encoder, selection_rules(settings), pseudonyms)
    built = CaseBase.build(
        cases, vectors, encoder.manifest, kind=_index_kind(kind), pseudonyms=_used(pseudonyms, cases)
    )
    _tell(built.save(directory), directory)


def _index_kind(kind: Kind | None) -> IndexKind | None:
    from pirtad.inference.retrieval.index import IndexKind

    return None if kind is None else IndexKind(kind)


def _used(pseudonyms: Pseudonyms, cases: Sequence[Case]) -> Pseudonyms | None:
    """A case base of public subjects needs no salt, and without one it comes out the same every time."""
    return pseudonyms if any(case.patient and case.patient.startswith("p-") for case in cases) else None


def _own_patient(base: CaseBase, patient_id: str | None) -> str | None:
    if patient_id is None:
        stop(Exit.FAILED, "the images name no patient, so that the patient's own cases can't be left out")
    return None if base.pseudonyms is None else base.pseudonyms.of(patient_id)


def _tell(saved: CaseBase, directory: Path) -> None:
    found = saved.info()
    typer.echo(f"{found.cases} cases in {directory}, version {found.version}, sha256 {found.sha256}")


def _weights(settings: Settings) -> Path:
    from pirtad.inference.engine import SHIPPED_WEIGHTS

    return settings.inference.weights_dir or SHIPPED_WEIGHTS


def _encoder(settings: Settings) -> Encoder:
    from pirtad.inference.models.encoder import Encoder

    return Encoder.load(_weights(settings), device=settings.inference.device)


def _case_base(settings: Settings, encoder: Encoder) -> CaseBase:
    from pirtad.inference.engine import SHIPPED_CASE_BASE
    from pirtad.inference.retrieval.case_base import CaseBase

    return CaseBase.load(settings.inference.case_base_dir or SHIPPED_CASE_BASE, encoder.manifest)
