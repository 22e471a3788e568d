#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the table of docs/figures.md from `uhmm bench --json`.

    bench/figures.py RUN.json... [--write]

Later files win, row by row, so that long cases may come from a run of their own. Without --write the table goes to standard
output."""
import json
import pathlib
import sys

BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def number(v):
    return f"{v:.2f}" if 0 < abs(v) < 10 else f"{v:.1f}" if 0 < abs(v) < 100 else f"{v:,.0f}"


def line(row):
    if row.get("skipped"):
        return f"| {row['row']} | – | | | {row['note']} |"
    bar = f"≤ {number(row['bar'])}" if "bar" in row else ""
    if "ok" in row and not row["ok"]:
        bar += " **missed**"
    peer = f"{row['peer']} {number(row['peer_figure'])}" if "peer" in row else ""
    return f"| {row['row']} | {number(row['figure'])} {row['unit']} | {bar} | {peer} | {row['note']} |"


def main():
    files = [a for a in sys.argv[1:] if not a.startswith("--")]
    if not files:
        sys.exit(__doc__)
    rows, machine = {}, ""
    for name in files:
        run = json.loads(pathlib.Path(name).read_text())
        machine = machine or run["machine"]
        for row in run["rows"]:
            rows[row["row"]] = row
    table = [f"Machine: {machine}.", "", "| what | figure | bar | beside, same run | note |", "|---|---|---|---|---|"]
    text = "\n".join(table + [line(r) for r in rows.values()]) + "\n"
    if "--write" not in sys.argv:
        print(text, end="")
        return
    doc = pathlib.Path(__file__).resolve().parent.parent / "docs" / "figures.md"
    old = doc.read_text()
    head, rest = old.split(BEGIN)
    doc.write_text(head + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
