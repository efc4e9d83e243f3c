"""``xmcgan data export``."""

from pathlib import Path


def export(source: Path, *, split: str, output: Path) -> int:
    """Write a split of a prepared folder as WebDataset tars, for other projects.

    Args:
        source: a folder that ``xmcgan data prepare`` wrote.
        split: a split of the prepared folder.
        output: folder for the tars.

    Examples:
        xmcgan data export data/coco14 --split train2014 --output tars
    """
    from xmcgan.data.prepared.export import export_webdataset
    from xmcgan.data.prepared.manifest import is_prepared

    if not is_prepared(source):
        raise ValueError(f"{source} is not a prepared folder; prepare the data set first: xmcgan data prepare")
    tars = export_webdataset(source, split, output)
    print(f"{len(tars)} tars of {split} are in {output}")
    return 0
