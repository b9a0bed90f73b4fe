"""How results show themselves: as tables of rich on a console, and as HTML in a notebook.

A result says what its tables hold, in words and numbers that are ready to be read; the rest is done here, the same for all. The
HTML takes its colors from the page it stands in, light or dark, asks for nothing from anywhere, and escapes what it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LINE = "border-bottom:1px solid color-mix(in srgb, currentColor 18%, transparent)"
CELL = f"padding:2px 12px 2px 0;vertical-align:top;{LINE}"


@dataclass(frozen=True)
class Table:
    """A table as it is read.

    Attributes:
        head: What it is about, in a line.
        columns: Their names; empty for rows that need none.
        rows: Of cells, as text.
        notes: What a reader must know, a sentence each.
        right: The positions of columns of numbers, which stand on the right.
    """

    head: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    right: Sequence[int] = (1,)


class Tabled:
    """What is shown as tables; `rich.print` and notebooks find how."""

    def tables(self) -> list[Table]:
        """What is shown: every result has tables of its own."""
        raise NotImplementedError

    def __rich__(self) -> Any:
        """For a console, by rich."""
        return as_rich(self.tables())

    def _repr_html_(self) -> str:
        """For a notebook."""
        return as_html(self.tables())


def as_rich(tables: Sequence[Table]) -> Any:
    """Tables as rich prints them; nothing in them is taken for markup."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[Any] = []
    for table in tables:
        parts.append(Text(table.head, style="bold"))
        if table.rows:
            made = RichTable(box=None, show_header=bool(table.columns), padding=(0, 2, 0, 0), header_style="dim")
            for position in range(_width(table)):
                name = table.columns[position] if table.columns else ""
                made.add_column(Text(name), justify="right" if position in table.right else "left", overflow="fold")
            for row in table.rows:
                made.add_row(*map(Text, row))
            parts.append(made)
        parts += [Text(note, style="italic") for note in table.notes]
        parts.append(Text(""))
    return Group(*parts[:-1])


def as_html(tables: Sequence[Table]) -> str:
    """Tables as HTML."""
    return f'<div style="font-size:90%;line-height:1.35">{"".join(map(_one, tables))}</div>'


def _one(table: Table) -> str:
    parts = [f'<div style="font-weight:600;margin:6px 0 2px">{escape(table.head)}</div>']
    if table.rows:
        head = f"<thead>{_row(table, table.columns, 'th')}</thead>" if table.columns else ""
        body = "".join(_row(table, row, "td") for row in table.rows)
        style = "border-collapse:collapse;background:transparent;color:inherit;margin:0"
        wide = "overflow-x:auto;max-width:100%"
        parts.append(f'<div style="{wide}"><table style="{style}">{head}<tbody>{body}</tbody></table></div>')
    parts += [f'<div style="max-width:60em;opacity:0.85;margin:2px 0">{escape(note)}</div>' for note in table.notes]
    return "".join(parts)


def _row(table: Table, cells: Sequence[str], tag: str) -> str:
    made = []
    for position, cell in enumerate(cells):
        align = "right" if position in table.right else "left"
        weight = ";font-weight:500;opacity:0.75" if tag == "th" else ""
        numbers = ";font-variant-numeric:tabular-nums;white-space:nowrap" if align == "right" else ""
        made.append(f'<{tag} style="{CELL};text-align:{align}{numbers}{weight}">{escape(cell)}</{tag}>')
    return f'<tr style="background:transparent">{"".join(made)}</tr>'


def _width(table: Table) -> int:
    return max(len(row) for row in (table.columns, *table.rows))
