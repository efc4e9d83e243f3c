"""``xmcgan data stats``."""

from pathlib import Path

from xmcgan.cli.data.sets import DataSetName, chosen_set, entries, patterns, print_splits
from xmcgan.data.readers.dialect import DialectName
from xmcgan.runtime.files import atomic_file, write_new
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar


def stats(
    name: DataSetName,
    *,
    source: str,
    output: Path | None = None,
    splits: list[str] | None = None,
    dialect: DialectName | None = None,
    encoder: str = "minilm",
    max_length: int | None = None,
) -> int:
    """Count images, captions, words, tokens and objects: the paper's Table 1, and plots.

    Args:
        name: the data set.
        source: its folder, as its owners publish it, or prepared data, or the URL of either.
        output: folder for stats.json and stats.png.
        splits: other splits than the data set's: ``train,val``.
        dialect: dialect of a .csv or .tsv, if the detected one is wrong; unquoted: quotation marks are text.
        encoder: text encoder whose tokenizer counts tokens (text.encoder).
        max_length: number of tokens kept of a caption; by default as in the data set's recipe.

    Examples:
        xmcgan data stats coco14 --source /path/to/coco --output stats
    """
    data = chosen_set(name, splits, dialect)
    if max_length is not None and max_length < 1:
        raise ValueError(f"--max-length is {max_length}; it should be at least 1")
    from xmcgan.data import statistics
    from xmcgan.data.remote import source_path
    from xmcgan.encoders.text import count_tokens

    place = source_path(source)
    print_splits(place, data)
    tokens = count_tokens(encoder)
    counted = {
        split: statistics.count(
            ProgressBar(total=None, desc=split, unit="record", leave=False).over(entries(place, data, pattern)),
            tokens=tokens,
            max_length=max_length or data.max_length,
        )
        for split, pattern in patterns(data).items()
    }
    print(statistics.table(counted))
    if output is not None:
        with locked_folder(output, "written into", wait=True):
            write_new(output / "stats.json", statistics.to_json(counted).encode())
            with atomic_file(output / "stats.png") as partial:
                statistics.plot(counted).savefig(partial, dpi=110, format="png")
        print(f"stats.json and stats.png are in {output}")
    return 0
