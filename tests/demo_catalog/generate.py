"""Writes catalogs/demo from the material, or checks that it is what the material gives.

Run `python -m tests.demo_catalog.generate [--check]` from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.demo_catalog.habits import read_habits
from tests.demo_catalog.judgments import read_judgments
from tests.demo_catalog.material import read_brands, read_types
from tests.demo_catalog.products import build
from tests.demo_catalog.purchases import simulate

TARGET = Path(__file__).parents[2] / "catalogs" / "demo"


def files() -> dict[str, str]:
    """Every generated file of the demo catalog: its name and its text."""
    items = build(read_types(), read_brands())
    judged = read_judgments(items)
    texts = {
        "products.jsonl": [json.dumps(item.row, ensure_ascii=False) for item in items],
        "queries.tsv": [f"{query.id}\t{query.text}" for query in judged],
        "qrels.txt": [
            f"{query.id} 0 {product} {grade}"
            for query in judged
            for product, grade in query.grades.items()
        ],
        "purchases.csv": simulate(items, read_habits()),
    }
    return {name: "\n".join(lines) + "\n" for name, lines in texts.items()}


def stale() -> list[str]:
    """The names of files in catalogs/demo that differ from what the material gives."""
    return [
        name
        for name, text in files().items()
        if not (TARGET / name).is_file() or (TARGET / name).read_bytes() != text.encode()
    ]


def main() -> int:
    """Write the files; with --check only say which ones differ, exit status 1 when any does."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if parser.parse_args().check:
        differing = stale()
        sys.stdout.write("".join(f"{name} is stale\n" for name in differing) or "up to date\n")
        return 1 if differing else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (TARGET / name).write_bytes(text.encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
