"""``xmcgan study results``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xmcgan.study.analysis.results import Results
    from xmcgan.study.records import Answer, Study


def results(
    study: Path,
    *,
    output: Path | None = None,
    database: str | None = None,
    data: str | None = None,
    replicates: int = 2000,
    seed: int = 0,
) -> int:
    """Analyse the answers of a study: shares ranked best as in the paper's Figure 3, and more.

    Writes a folder with a page, Figure 3 as SVG and PNG, all numbers, the raw answers, and lines for `xmcgan compare`.
    Existing files with other content are not overwritten. It may run while annotators answer.

    Args:
        study: folder of the study, or a file of its raw answers, answers.json.
        output: folder of the results; by default ``results`` in the folder of the study.
        database: URL of the database, if it is not the file in the folder.
        data: name of the data set for ``xmcgan compare``, such as coco14; by default the name of the study.
        replicates: replicates of each bootstrap, of captions, annotators and answers.
        seed: seed of the bootstraps.

    Examples:
        xmcgan study results studies/coco --data coco14
        xmcgan study results studies/coco/results/answers.json --output elsewhere
    """
    from xmcgan.runtime.progress import ProgressBar

    if replicates < 100:
        raise ValueError(f"--replicates is {replicates}; it should be at least 100")
    try:
        from xmcgan.study.analysis.export import write_results
        from xmcgan.study.analysis.results import analyse, steps

        described, answers = read(study, database)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("scipy", "jinja2", "sqlalchemy", "alembic"):
            raise
        raise ValueError(f"{error.name} is not installed; studies need pip install 'xmcgan[study]'") from None

    folder = output or (study.parent if study.is_file() else study) / "results"
    start = time.perf_counter()
    total = steps(described, answers, replicates)
    with ProgressBar(total=total, unit="replicate", desc="bootstrap", leave=False) as bar:
        found = analyse(described, answers, replicates=replicates, seed=seed, progress=bar.update)
    written = write_results(folder, found, answers, data=data, seconds=round(time.perf_counter() - start, 1))
    for line in summary(found):
        print(line)
    print(f"{', '.join(path.name for path in written)} are in {folder}")
    return 0


def read(study: Path, database: str | None) -> "tuple[Study, list[Answer]]":
    """A study and its answers, from its folder, its database or a file of raw answers."""
    from xmcgan.study.raw_answers import from_json
    from xmcgan.study.storage import read_answers, sqlite_url

    if not study.is_file():
        return read_answers(sqlite_url(study) if database is None else database)
    if database is not None:
        raise ValueError(f"{study} is a file of answers; --database goes with a folder")
    return from_json(study.read_text(encoding="utf-8"))


def summary(found: "Results") -> list[str]:
    """Shares ranked best, and the annotators left out, as lines of text."""
    from xmcgan.study.records import criterion_name

    lines = []
    for each in found.criteria:
        name = criterion_name(each.criterion)
        lines.append(f"{name}, ranked best of {each.answers:,} answers by {each.annotators} annotators:")
        for system in sorted(each.systems, key=lambda one: -one.best.value):
            value, low, high, _ = system.best
            ends = "" if low is None or high is None else f"  ({100 * low:.1f} to {100 * high:.1f})"
            lines.append(f"  {100 * value:5.1f} %{ends}  {system.system}")
    for one in found.excluded:
        reasons = "; ".join(one.reasons)
        lines.append(f"left out: annotator {one.annotator} in {criterion_name(one.criterion)}: {reasons}")
    return lines
