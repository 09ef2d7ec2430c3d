#!/usr/bin/env python3
"""Writes the dashboards (dashboards/*.json) and the table of their panels (PANELS.md) from their description in generator/.

    deploy/grafana/generate.py            writes them
    deploy/grafana/generate.py --check    says which of them are not what would be written; exit code 1 if any is not

Needs Python 3.9 and nothing else.
"""

import argparse
import json
import pathlib
import sys

from generator import agent, dcgm, events, node, originals, workloads
from generator.expressions import terms

HERE = pathlib.Path(__file__).resolve().parent

# A board by the name of its file, and the panels that it is a counterpart of: the dashboard's name, and its rows.
BOARDS = {
    "node": (node.BOARD, "Node Exporter Full (grafana.com 1860)", originals.NODE),
    "gpus": (dcgm.BOARD, "NVIDIA DCGM Exporter Dashboard (grafana.com 12239)", originals.DCGM),
    "workloads": (workloads.BOARD, None, {}),
    "events": (events.BOARD, None, {}),
    "agent": (agent.BOARD, None, {}),
}

INTRODUCTION = """# Panels

Written by `generate.py`, like the dashboards. Each panel of the two dashboards that most clusters have has one here, under the same title
in the same row (queries that are hidden there are left out); then come the panels that have no counterpart there.
"""


def files():
    """`{path: text}` of everything that is written."""
    found = {HERE / "PANELS.md": table_of_panels()}
    for name, (board, _, _) in BOARDS.items():
        found[HERE / "dashboards" / f"{name}.json"] = json.dumps(board.json(), indent=1, ensure_ascii=False) + "\n"
    return found


def table_of_panels():
    """PANELS.md: what each panel is the counterpart of, and which metrics it asks for."""
    text = INTRODUCTION
    for name, (board, original, rows) in BOARDS.items():
        panels = {(row.title, panel.title): panel for row in board.rows for panel in row.panels}
        missing = [(row, title) for row, titles in rows.items() for title in titles if (row, title) not in panels]
        if missing:
            sys.exit(f"{name}: no counterpart of {missing}")
        if rows:
            text += f"\n## {original}\n\n"
            text += f"| Row | Panel | Ours, in `dashboards/{name}.json` | Metrics |\n|---|---|---|---|\n"
            for row, titles in rows.items():
                for title in titles:
                    text += f"| {row} | {title} | {board.title} / {row} / {title} | {metrics(panels.pop((row, title)))} |\n"
        if panels:
            text += f"\n## {board.title}{', besides' if rows else ''}\n\n"
            text += f"| Row | Panel, in `dashboards/{name}.json` | Metrics |\n|---|---|---|\n"
            for (row, title), panel in panels.items():
                text += f"| {row} | {title} | {metrics(panel)} |\n"
    return text


def metrics(panel):
    names = [panel.table] if panel.table else sorted({term.metric for tree in panel.trees().values() for term in terms(tree)})
    return ", ".join(f"`{name}`" for name in names)


def differing(written=None):
    """Paths that are not what would be written, those that would not be written at all included."""
    written = written or files()
    kept = {*(HERE / "dashboards").glob("*.json"), HERE / "PANELS.md"}
    return sorted(str(path.relative_to(HERE)) for path in kept | written.keys()
                  if path not in written or not path.exists() or path.read_text("utf-8") != written[path])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        found = differing()
        for path in found:
            print(f"{path} is not what generate.py writes")
        return 1 if found else 0
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        print(path.relative_to(HERE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
