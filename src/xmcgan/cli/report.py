"""``xmcgan report``."""

from pathlib import Path


def report(folder: Path, *, output: Path | None = None) -> int:
    """Write the report of an ablation, also while it runs.

    One self-contained page, with Markdown, SVG and PNG beside it.

    Args:
        folder: folder of the ablation (xmcgan ablate).
        output: folder to write to; report/ in the ablation's folder unless given.

    Examples:
        xmcgan report ablations/table-4
    """
    from xmcgan.ablation.report import write_report

    print(f"the report is {write_report(folder, output)}")
    return 0
