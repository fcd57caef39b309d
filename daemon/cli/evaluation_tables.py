"""Tables of `pirtad evaluate` for a terminal, beside what the paper's text gives."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pirtad.inference.evaluation.paper import (
    CLASS_WISE_ACC_AT_1,
    MAP_AT_1,
    MULTICLASS_ACC_AT_1,
    OTHER_DATA,
    PaperFigure,
)
from pirtad.inference.findings import Territory

Figures = dict[str, Any]


def shown_as_tables(name: str, found: Figures) -> Group:
    """name: "retrieval", "classification" or "representation"; found: evaluation.document.document's result."""
    tables = {"retrieval": _retrieval, "classification": _classification, "representation": _representation}[name]
    return Group(*tables(found), *_footing(found))


def _retrieval(found: Figures) -> list[RenderableType]:
    table = _table("retrieval", "value", "95 %", "paper internal", "paper BRMH")
    for depth in (1, 3, 5, 10):
        _row(table, f"mAP@{depth}", found[f"map_at_{depth}"], MAP_AT_1 if depth == 1 else None)
    for label, name in (("Acc", "acc"), ("precision", "precision")):
        for depth in (1, 3, 5, 10):
            _row(table, f"{label}@{depth}", found[f"{name}_at_{depth}"])
    _row(table, "macro mAP@1", found["macro_map_at_1"])
    _row(table, "multi-class Acc@1, head", found["multiclass_acc_at_1"], MULTICLASS_ACC_AT_1)
    _row(table, "balanced accuracy, head", found["balanced_accuracy"])
    _row(table, "accuracy of the vote", found["vote_accuracy"])
    _row(table, "balanced accuracy, vote", found["vote_balanced_accuracy"])
    _always_anterior(table, found)
    classes = _table("by class", "n", "mAP@1", "Acc@5", "head", "vote")
    for territory, row in found["per_class"].items():
        cells = (row[key] for key in ("map_at_1", "acc_at_5", "head_accuracy", "vote_accuracy"))
        classes.add_row(_short(Territory(territory)), str(row["n"]), *map(_with_interval, cells))
    return [table, Text(), classes]


def _classification(found: Figures) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for said in ("head", "vote"):
        of = found[said]
        table = _table(f"classes, {said}", "accuracy", "sensitivity", "specificity", "paper")
        for territory in Territory:
            row = of["by_class"][territory]
            cells = (_with_interval(row[key]) for key in ("accuracy", "sensitivity", "specificity"))
            table.add_row(_short(territory), *cells, _both(CLASS_WISE_ACC_AT_1[territory] if said == "head" else None))
        multi = MULTICLASS_ACC_AT_1 if said == "head" else None
        table.add_row("multi-class Acc@1", _with_interval(of["multiclass_acc_at_1"]), "", "", _both(multi))
        table.add_row("balanced accuracy", _with_interval(of["balanced_accuracy"]), "", "", "")
        groups = _table(f"groups, {said}", "n", "right class", "called an infarct")
        for name, row in of["by_group"].items():
            cells = (_with_interval(row[key]) for key in ("multiclass_acc_at_1", "called_infarct"))
            groups.add_row(name.replace("_", " "), str(row["n"]), *cells)
        note = [Text("paper: accuracy, internal/BRMH")] if said == "head" else []
        parts += [table, *note, Text(), groups, Text()]
    anterior = _table("baseline", "value", "95 %", "", "")
    _always_anterior(anterior, found)
    parts.append(anterior)
    if "lesion_map" in found:
        parts += [Text(), *_lesion_map(found["lesion_map"])]
    return parts


def _lesion_map(maps: Figures) -> list[RenderableType]:
    table = _table("lesion map", "n", "Dice", "ml off", "% off", "wrong side", "not found")
    for name, row in {"infarcts": maps["infarcts"], **maps["by_group"]}.items():
        error = row["absolute_volume_error_ml_median"]
        relative = row["absolute_relative_volume_error_median"]
        table.add_row(
            name.replace("_", " "),
            str(row["n"]),
            _with_interval(row["dice"]),
            "-" if error is None else f"{error['value']:.1f}",
            "-" if relative is None else f"{100 * relative['value']:.0f}",
            _with_interval(row["wrong_side"]),
            _with_interval(row["nothing_found"]),
        )
    below: list[RenderableType] = [
        Text("ml and % off: medians of the volume's absolute error, against the lesion on the grid")
    ]
    normal = maps["normal"]
    if normal["n"]:
        shown = f"{_with_interval(normal['something_found'])} of them, {normal['volume_ml']['value']:.2f} ml on average"
        below.append(Text(f"normal cases in which the map shows something: {shown}"))
    return [table, *below]


def _representation(found: Figures) -> list[RenderableType]:
    table = _table("representation", "classes", "clusters of the mixture", "adjusted Rand index")
    for name in ("together", "queries", "plane"):
        row, mixture = found[name], found[name]["gaussian_mixture"]
        parted = mixture["silhouette_of_clusters"]
        table.add_row(
            {"together": "case base and queries", "plane": "their plane by UMAP"}.get(name, name),
            f"{row['silhouette_of_classes']:.3f}",
            "-" if parted is None else f"{parted:.3f}",
            f"{mixture['adjusted_rand_index']:.3f}",
        )
    by_class = found["together"]["silhouette_by_class"]
    shown = ", ".join(f"{Territory(name).phrase} {value:.3f}" for name, value in by_class.items())
    return [table, Text(f"silhouettes; by class: {shown}")]


def _footing(found: Figures) -> list[RenderableType]:
    of = found["of"]
    lesions, encoder = of["lesion_set"], of["encoder"]
    drawn = lesions["kind"] != "masks"
    shown = (
        "drawn lesions" if drawn else f"{lesions['file']}: {lesions['held_out_masks']} masks, {lesions['held_out_by']}"
    )
    return [
        Text(),
        Text(f"{found['n']} simulated queries, {of['split']} scanners, {shown}"),
        Text(
            f"left out because not visible: {of['queries_left_out']} queries, {of['masks_left_out']} masks altogether"
        ),
        Text(f"encoder {encoder['name']} {encoder['sha256'][:12]}, case base {of['case_base']['sha256'][:12]}"),
        Text(OTHER_DATA, style="yellow"),
    ]


def _always_anterior(table: Table, found: Figures) -> None:
    for label, name in (
        ("always anterior", "multiclass_acc_at_1"),
        ("always anterior, infarcts alone", "among_infarcts"),
        ("always anterior, balanced", "balanced_accuracy"),
    ):
        _row(table, label, found["always_anterior"][name])


def _table(title: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _row(table: Table, label: str, interval: Figures | None, paper: PaperFigure | None = None) -> None:
    if interval is None:
        table.add_row(label, "-", "", *_paper(paper))
        return
    table.add_row(label, _percent(interval["value"]), _range(interval), *_paper(paper))


def _paper(figure: PaperFigure | None) -> tuple[str, str]:
    return ("", "") if figure is None else (f"{figure.internal:.1f}", f"{figure.brmh:.1f}")


def _both(figure: PaperFigure | None) -> str:
    """Internal and BRMH."""
    return "" if figure is None else f"{figure.internal:.1f}/{figure.brmh:.1f}"


def _with_interval(interval: Figures | None) -> str:
    """E.g. '83 78-88': narrow, so that tables fit 80 columns; the JSON has all digits."""
    if interval is None:
        return "-"
    value, low, high = (f"{100 * interval[key]:.0f}" for key in ("value", "low", "high"))
    return f"{value} {low}-{high}"


def _short(territory: Territory) -> str:
    """'anterior', for a table that says already what its rows are."""
    return territory.phrase.removesuffix(" circulation")


def _range(interval: Figures) -> str:
    return f"{_percent(interval['low'])}-{_percent(interval['high'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
