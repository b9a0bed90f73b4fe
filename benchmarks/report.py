"""The table: as records for JSON, and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rows import FLOOR, MLP_FLOP, Row

HEAD = ("", "against", "ours", "theirs", "unit", "measured (range)", "target", "stretch", "reached")


def record(row: Row, result: Mapping[str, float] | None, *, note: str = "") -> dict[str, Any]:
    """A row and what came of it: `result` is that of `pairs.compare`, or None, and `note` says why, or what to know."""
    found = {"reached": reached(row, result["value"]), **result} if result is not None else {}
    return {
        "name": row.name,
        "against": row.against,
        "unit": row.unit,
        "measure": row.measure,
        "precision": row.precision,
        "target": row.target,
        "stretch": row.stretch,
        "flop_per_unit": row.flop,
        **found,
        "note": note,
    }


def reached(row: Row, value: float) -> str:
    """Whether a value is what was wanted; empty where nothing was."""

    def meets(wanted: float | None) -> bool:
        return wanted is not None and (value >= wanted if row.measure == "speed" else value <= wanted)

    if row.target is None:
        return ""
    return "stretch" if meets(row.stretch) else "yes" if meets(row.target) else "no"


def markdown(table: Mapping[str, Any]) -> str:
    """The whole table, with what it was measured on."""
    facts = ", ".join(f"{name} {value}" for name, value in table["machine"].items())
    rivals = ", ".join(f"{name} {value}" for name, value in table["rivals"].items())
    head = [f"{facts}.", f"Rivals: {rivals or 'none'}.", f"Medians of {table['rounds']} interleaved pairs."]
    floor = floor_of(table["rows"])
    if floor:
        rates = " and ".join(f"{rate:,.0f} GFLOP/s in {precision}" for precision, rate in floor.items())
        most = " and ".join(f"{rate * 1e9 / MLP_FLOP:,.0f}" for rate in floor.values())
        step = MLP_FLOP * 128 / 1e6
        head.append(
            f"Matrix products: {rates}; a step of the MLP at batch 128 takes {step:,.0f} MFLOP of them, so that it is trained by"
            f" at most {most} examples/s."
        )
    lines = [_line(HEAD), "|" + "---|" * len(HEAD), *(_line(_cells(row, floor)) for row in table["rows"])]
    return "\n".join([" ".join(head), "", *lines, ""])


def floor_of(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The rates of matrix products by precision, GFLOP/s; empty where they were not measured."""
    row = next((row for row in records if row["name"].startswith(FLOOR) and "ours" in row), None)
    return {} if row is None else {"float32": row["theirs"], "bf16": row["ours"]}


def _cells(row: Mapping[str, Any], floor: Mapping[str, float]) -> tuple[str, ...]:
    name = row["name"] + (f" ({row['note']})" if row["note"] and "value" in row else "")
    wanted = [_wanted(row, kind) for kind in ("target", "stretch")]
    if "value" not in row:
        return (name, row["against"], "", "", row["unit"], f"not measured: {row['note']}", *wanted, "")
    ours = _number(row["ours"])
    if row["flop_per_unit"] and row["precision"] in floor:
        ours += f" ({row['ours'] * row['flop_per_unit'] / floor[row['precision']] / 1e9:.0%} of the products' rate)"
    theirs = _number(row["theirs"]) if "theirs" in row else ""
    measured = f"{_value(row, row['value'])} ({row['low']:.2f} to {row['high']:.2f})"
    return (name, row["against"], ours, theirs, row["unit"], measured, *wanted, row["reached"])


def _wanted(row: Mapping[str, Any], kind: str) -> str:
    if row[kind] is None:
        return ""
    return f"{'>=' if row['measure'] == 'speed' else '<='} {row[kind]:g}{'' if row['measure'] == 'speed' else ' s'}"


def _value(row: Mapping[str, Any], value: float) -> str:
    return f"{value:.2f} {'x' if row['measure'] == 'speed' else 's'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
