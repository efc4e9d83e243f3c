"""``xmcgan compare``: files of results as the paper's tables."""

import sys
from pathlib import Path


def compare(files: list[Path], *, output: Path | None = None, table: int | None = None, ignore: str = "") -> int:
    """Put results beside the paper's own, one protocol per column.

    Makes the paper's Tables 2 (COCO-14) and 3 (Localized Narratives), and a table for any other data set. If the
    settings of two results differ, it lists the differences and makes no table. Later systems' numbers follow in their
    own tables, one for each protocol.

    Args:
        files: results, as ``xmcgan evaluate`` writes them.
        output: folder for comparison.md, .tex and .html; earlier ones there are replaced.
        table: 2 or 3: only that table of the paper.
        ignore: settings that may differ in a column, separated by commas; the table lists them.

    Examples:
        xmcgan compare evaluations/results.jsonl --output evaluations/tables
    """
    from xmcgan.evaluation import compare as comparing
    from xmcgan.evaluation.published_later import later_tables
    from xmcgan.evaluation.tables import to_markdown

    measured = comparing.read_measured(files)
    ignored = [name.strip() for name in ignore.split(",") if name.strip()]
    try:
        tables = comparing.compare(measured, table=table, ignore=ignored)
    except comparing.ProtocolsDiffer as error:
        print(f"xmcgan: {error}", file=sys.stderr)  # a line per setting: many can differ
        return 2
    if table is None:
        tables = [*tables, *later_tables(str(each.result.protocol["data"]) for each in measured)]
    written = [] if output is None else comparing.write_comparison(output, tables, measured)
    print(to_markdown(tables))
    if written:
        print(f"{', '.join(path.name for path in written)} are in {output}")
    return 0
