"""`pirtad cases`: the case base that similar cases are retrieved from."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, printable, settings_of, stop
from pirtad.daemon.cli.offline import Adc, BValue, Dwi, OptionalFolder, prepared_from
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.models.encoder import Encoder
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.worker.settings import Settings

app = typer.Typer(help="Build, extend, search and describe the case base.", no_args_is_help=True, rich_markup_mode=None)

_TABLE_HELP = (
    'JSON Lines, one case a line: "case_id", "finding" (territory, signal_class, infarct_type), "report", '
    '"provenance", and either "study" (folder) or "dwi" and "adc" (NIfTI), relative to the table.'
)


@app.command(
    epilog="\b\nExamples:\n  pirtad cases build ./case_base --table cases.jsonl\n"
    "  pirtad cases build ./case_base --simulated 400"
)
def build(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Folder for the case base.")],
    table: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help=_TABLE_HELP)] = None,
    simulated: Annotated[int | None, typer.Option(min=4, help="Or so many simulated cases.")] = None,
    test_cases: Annotated[
        int, typer.Option(min=0, help="Held-out simulated studies that retrieval is scored on, with --simulated.")
    ] = 0,
    cache: Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")] = DEFAULT_CACHE,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
) -> None:
    """Encode cases and write a new case base.

    Nothing is written if a case of the table can't be used; exit 1 then, with every such case named.
    """
    if (table is None) == (simulated is None):
        raise typer.BadParameter("give either --table or --simulated")
    settings = settings_of(context)
    with _mismatches_told():
        if table is not None:
            _build_from_table(settings, table, directory)
        elif simulated is not None:
            from pirtad.inference.training.build import CaseBaseConfig, build_simulated_case_base

            weights = _weights(settings)
            build_simulated_case_base(CaseBaseConfig(cache, weights, directory, simulated, test_cases, workers))


@app.command(epilog="\b\nExample:\n  pirtad cases add more.jsonl")
def add(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=_TABLE_HELP)],
) -> None:
    """Encode a table of cases and add them to the configured case base (inference.case_base_dir).

    Workers read the case base when they start. Exit 1 as for `build`; 4 if no case base is configured: the one that
    ships is never changed.
    """
    from pirtad.daemon.cli.case_table import encode, read_table
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.worker.selection import selection_rules

    settings = settings_of(context)
    directory = settings.inference.case_base_dir
    if directory is None:
        stop(Exit.NOT_POSSIBLE, "inference.case_base_dir is not set, and the case base that ships is not changed")
    with _mismatches_told():
        encoder = _encoder(settings)
        base = CaseBase.load(directory, encoder.manifest)
        rows = read_table(table)
        there = {case.case_id for case in base.cases}
        if twice := [row.case.case_id for row in rows if row.case.case_id in there]:
            stop(Exit.NOT_POSSIBLE, f"in the case base already: {', '.join(twice)}")
        saved = base.add(*encode(rows, encoder, selection_rules(settings))).save(directory)
    typer.echo(f"{len(saved.cases)} cases in {directory}, sha256 {saved.info().sha256}")


@app.command(epilog="\b\nExample:\n  pirtad cases search ./study -k 10")
def search(
    context: typer.Context,
    directory: OptionalFolder = None,
    dwi: Dwi = None,
    adc: Adc = None,
    b_value: BValue = 1000.0,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Cases shown.  [default: as in [inference]]")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the cases most similar to one study; no report is written."""
    settings = settings_of(context)
    with _mismatches_told():
        prepared = prepared_from(settings, directory, dwi, adc, b_value)
        encoder = _encoder(settings)
        vector = encoder.encode(prepared.network_input.array)
        similar = _case_base(settings, encoder).search(vector, k or settings.inference.similar_cases)
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
    typer.echo(f"{found.cases} cases")
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


def _build_from_table(settings: Settings, table: Path, directory: Path) -> None:
    from pirtad.daemon.cli.case_table import encode, read_table
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.worker.selection import selection_rules

    encoder = _encoder(settings)
    cases, vectors = encode(read_table(table), encoder, selection_rules(settings))
    saved = CaseBase.build(cases, vectors, encoder.manifest).save(directory)
    typer.echo(f"{len(saved.cases)} cases in {directory}, sha256 {saved.info().sha256}")


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
