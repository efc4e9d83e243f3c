"""The subcommand ``xmcgan compare``: files of results as the paper's tables."""

import sys
from pathlib import Path

from xmcgan.cli.parser import ArgumentParser


def compare_command(arguments: list[str]) -> int:
    """Prints the paper's tables with what was measured, and writes them where a folder is given."""
    parser = ArgumentParser(
        prog="xmcgan compare",
        description="Puts results beside the paper's own numbers: its Tables 2 (COCO-14) and 3 (Localized Narratives), "
        "and a table for any other data set. A column holds numbers of one protocol; where settings differ, it lists "
        "them and makes no table.",
        exit_on_error=False,
    )
    parser.add_argument("files", nargs="+", type=Path, help="results, as `xmcgan evaluate` writes them")
    parser.add_argument("--output", type=Path | None, default=None, help="folder for comparison.md, .tex and .html; "
                        "earlier ones there are replaced")  # fmt: skip
    parser.add_argument("--table", type=int | None, default=None, help="2 or 3: only that table of the paper")
    parser.add_argument("--ignore", type=str, default="", help="settings that may differ in a column, with commas "
                        "between; the table says so")  # fmt: skip
    options = parser.parse_args(arguments)
    from xmcgan.evaluation.compare import ProtocolsDiffer, compare, read_measured, write_comparison
    from xmcgan.evaluation.tables import to_markdown

    measured = read_measured(options.files)
    ignore = [name.strip() for name in options.ignore.split(",") if name.strip()]
    try:
        tables = compare(measured, table=options.table, ignore=ignore)
    except ProtocolsDiffer as error:
        print(f"xmcgan: {error}", file=sys.stderr)  # a line a setting: many can differ
        return 2
    written = [] if options.output is None else write_comparison(options.output, tables, measured)
    print(to_markdown(tables))
    if written:
        print(f"{', '.join(path.name for path in written)} are in {options.output}")
    return 0
