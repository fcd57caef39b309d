"""Text that a spreadsheet shows and does not run.

A cell that begins with = + - @ (or with white space before one, a tab or a line break) is a formula to Excel and
LibreOffice (OWASP, "CSV Injection"). An apostrophe before it makes it text; reading takes the apostrophe away again.
"""

from __future__ import annotations

_STARTS_A_FORMULA = tuple("=+-@'＝＋－＠\t\r\n")
MOST_CELL_CHARS = 32_000
"""Excel cuts a cell at 32,767 characters without a word; some room for the apostrophe and line breaks."""


def to_cell(text: str) -> str:
    """The text as a cell. `from_cell` gives it back unchanged."""
    starts = text.startswith(_STARTS_A_FORMULA) or text.lstrip().startswith(_STARTS_A_FORMULA)
    return f"'{text}" if starts else text


def from_cell(cell: str) -> str:
    """The inverse of `to_cell`; a cell that someone typed without an apostrophe stays as it is."""
    return cell[1:] if cell.startswith("'") and to_cell(cell[1:]) == cell else cell
