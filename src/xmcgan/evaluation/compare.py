"""Results of several systems as the paper's Tables 2 and 3, beside the paper's own numbers.

A column holds numbers of one protocol. Where two results of a metric differ in any setting, there is no table but a
list of the settings that differ; a setting can be let through by name, and the table then says so. What the paper
printed stands in a group of its own: its protocol cannot be checked.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from xmcgan.config import suggestion
from xmcgan.evaluation.published import PUBLISHED
from xmcgan.evaluation.results import REAL_IMAGES, Result, Setting, read_results
from xmcgan.evaluation.tables import NOTHING, Cell, Column, Group, Protocol, Row, Table, to_html, to_latex, to_markdown
from xmcgan.runtime.files import write_text


class Metric(NamedTuple):
    """How a metric is printed."""

    name: str
    better: str  # higher, lower, or neither is known
    digits: int
    share: bool = False  # results hold a share of 0 to 1; tables print per cent, as the paper does


METRICS = {
    "is": Metric("IS", "higher", 2),
    "fid": Metric("FID", "lower", 2),
    "r-precision": Metric("R-precision", "higher", 2, share=True),
    "soa-c": Metric("SOA-C", "higher", 2, share=True),
    "soa-i": Metric("SOA-I", "higher", 2, share=True),
    "contrastive-accuracy": Metric("Contrastive accuracy", "higher", 2, share=True),
    "clip-score": Metric("CLIPScore", "higher", 3),
    "kid": Metric("KID", "lower", 4),
    "precision": Metric("Precision", "higher", 3),
    "recall": Metric("Recall", "higher", 3),
    "density": Metric("Density", "higher", 3),
    "coverage": Metric("Coverage", "higher", 3),
}
"""In the order of columns; another metric comes after them, under its own name."""


def metric_of(name: str) -> Metric:
    """How a metric is printed."""
    return METRICS.get(name, Metric(name, "", 4))


ABSENT = "not stated"


class Measured(NamedTuple):
    """A result, and the file that holds it."""

    result: Result
    file: Path


class ProtocolsDiffer(ValueError):
    """Numbers that would share a column were not measured alike; a line a setting says where."""


def read_measured(files: Iterable[Path]) -> list[Measured]:
    """The results of some files, in their order; of lines that say the same, the newest, which is the last.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: on a line that is no result, a result without ``protocol["data"]``, a share that is none, or two
            numbers for one thing: same system, metric and protocol.
    """
    kept: dict[tuple[str, str, frozenset], Measured] = {}
    for file in files:
        for result in read_results(file):
            where = f"{file}: {result.metric} of {result.system!r}"
            if not isinstance(result.protocol.get("data"), str):
                raise ValueError(f"{where} has no protocol.data; it should name the data set, such as coco14")
            if metric_of(result.metric).share and not 0 <= result.value <= 1:
                raise ValueError(f"{where} is {result.value}; it should be a share of 0 to 1")
            key = result.system, result.metric, frozenset((name, exact(each)) for name, each in result.protocol.items())
            earlier = kept.get(key)
            if earlier is not None and numbers(earlier.result) != numbers(result):
                raise ValueError(
                    f"{where} is {result.value!r} of {result.samples:,} images, but {earlier.result.value!r} of "
                    f"{earlier.result.samples:,} in {earlier.file}, under the same protocol; remove one of them, or "
                    "give one system another name"
                )
            kept[key] = Measured(result, file)
    return list(kept.values())


def numbers(result: Result) -> tuple[float, float | None, int]:
    """What two results that say the same have in common."""
    return result.value, result.uncertainty, result.samples


def compare(measured: Sequence[Measured], *, table: int | None = None, ignore: Sequence[str] = ()) -> list[Table]:
    """A table for each data set, those of the paper first, with the paper's own rows.

    Args:
        measured: of any number of systems and metrics.
        table: 2 or 3 gives that table of the paper alone; otherwise there is one for each measured data set.
        ignore: settings that may differ within a column. A system measured under several of their values has a row
            for each.

    Raises:
        ProtocolsDiffer: if a column's results differ in other settings.
        ValueError: if there is no result for such a table, or no result has a setting to be ignored.
    """
    sets = list(dict.fromkeys(str(each.result.protocol["data"]) for each in measured))
    if not measured:
        raise ValueError("there are no results in these files")
    wanted = [data for data in PUBLISHED if data in sets] + [data for data in sets if data not in PUBLISHED]
    if table is not None:
        wanted = [data for data, known in PUBLISHED.items() if known.number == table]
        if not wanted:
            numbers_known = sorted({known.number for known in PUBLISHED.values()})
            raise ValueError(f"table is {table}; it should be {' or '.join(map(str, numbers_known))}")
        if not set(wanted) & set(sets):
            raise ValueError(f"no result is of Table {table} ({', '.join(wanted)}); they are of {', '.join(sets)}")
    settings = {name for each in measured for name in each.result.protocol} - {"data"}
    for name in ignore:
        if name not in settings:
            raise ValueError(f"no result has the setting {name!r} to ignore{suggestion(name, sorted(settings))}")
    held = {data: [each for each in measured if each.result.protocol["data"] == data] for data in wanted}
    refuse_differences(held, ignore)
    return [table_of(data, results, ignore) for data, results in held.items()]


# Protocols


def refuse_differences(held: dict[str, list[Measured]], ignore: Sequence[str]):
    """Raises ProtocolsDiffer where a column of a data set holds numbers that were not measured alike."""
    columns: dict[tuple[str, str], list[str]] = {}  # the metrics by what differs, as many differ alike
    names = {}
    for data, results in held.items():
        for metric in metrics_of(results):
            for name, values in differences(column_of(results, metric)).items():
                if name not in ignore:
                    texts = " and ".join(f"{short(value)} in {sources(those)}" for value, those in values.items())
                    columns.setdefault((data, f"{name} is {texts}"), []).append(metric)
                    names[name] = None
    if columns:
        lines = [f"  {data}, {', '.join(metrics)}: {texts}" for (data, texts), metrics in columns.items()]
        raise ProtocolsDiffer(
            "numbers of different protocols do not share a column. What differs:\n"
            + "\n".join(lines)
            + f"\nMeasure them alike, or let settings differ: --ignore {','.join(names)}"
        )


def differences(results: Sequence[Measured]) -> dict[str, dict[str, list[Measured]]]:
    """The settings in which a column's results differ: those of each value, by the setting's name."""
    found = {}
    for name in dict.fromkeys(name for each in results for name in each.result.protocol):
        values: dict[str, list[Measured]] = {}
        for each in results:
            values.setdefault(setting_of(each, name), []).append(each)
        if len(values) > 1:
            found[name] = values
    return found


def setting_of(measured: Measured, name: str) -> str:
    """A setting's value as it is compared: a null that is written down is not one that is left out."""
    protocol = measured.result.protocol
    return exact(protocol[name]) if name in protocol else ABSENT


def exact(value: Setting) -> str:
    """A setting as JSON, which tells true from 1; 10.0 is 10, as some writers of JSON have it."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, ensure_ascii=False)


def short(text: str) -> str:
    """Text with its SHA-256 sums cut to 12 digits: enough to tell networks apart."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


def readable(setting: str) -> str:
    """A setting's JSON as a reader expects it: short, and text without quotes."""
    return short(setting.removeprefix('"').removesuffix('"'))


def sources(results: Sequence[Measured], most: int = 3) -> str:
    """Files and the systems in them: ``a.jsonl (XMC-GAN), b.jsonl (AttnGAN, DM-GAN)``."""
    systems: dict[Path, dict[str, None]] = {}
    for result, file in results:
        systems.setdefault(file, {})[result.system] = None
    texts = []
    for file, names in systems.items():
        more = f" and {len(names) - most} more" * (len(names) > most)
        texts.append(f"{file} ({'; '.join(list(names)[:most])}{more})")
    return ", ".join(texts)


# One table


def table_of(data: str, results: Sequence[Measured], ignore: Sequence[str]) -> Table:
    """The table of one data set."""
    published = PUBLISHED.get(data)
    metrics = list(dict.fromkeys([*(published.metrics if published else ()), *metrics_of(results)]))
    groups = []
    if published:
        rows = tuple(
            Row(system, tuple(Cell(values[metric]) if metric in values else None for metric in metrics))
            for system, values in published.rows.items()
        )
        groups.append(Group("published", "the paper's own numbers, of the paper's protocol", rows))
    if results:
        rows = measured_rows(results, metrics, ignore)
        about = "here; not of one protocol, see below" if differing(results) else "here, one protocol a column"
        groups.append(Group("measured", about, rows))
    title = f"{published.title} (Table {published.number} of the paper)" if published else f"{data} (not in the paper)"
    return Table(
        title,
        tuple(map(column, metrics)),
        tuple(groups),
        tuple(notes(data, results, groups, ignore)),
        tuple(protocols(results)),
    )


def column(metric: str) -> Column:
    """The head of a metric's column."""
    known = metric_of(metric)
    return Column(known.name, "%" if known.share else "", known.better)


def metrics_of(results: Sequence[Measured]) -> list[str]:
    """The measured metrics, in the order of columns."""
    found = dict.fromkeys(each.result.metric for each in results)
    return [name for name in METRICS if name in found] + sorted(name for name in found if name not in METRICS)


def column_of(results: Sequence[Measured], metric: str) -> list[Measured]:
    """The results of one metric."""
    return [each for each in results if each.result.metric == metric]


def measured_rows(results: Sequence[Measured], metrics: Sequence[str], ignore: Sequence[str]) -> tuple[Row, ...]:
    """A row a system, real images first; several where an ignored setting has several values for a system."""
    columns = {metric: column_of(results, metric) for metric in metrics_of(results)}
    best = {metric: best_of(those) for metric, those in columns.items()}
    counted = {metric for metric, those in columns.items() if len({each.result.samples for each in those}) > 1}
    systems: dict[str, list[Measured]] = {}
    for each in sorted(results, key=lambda each: each.result.system != REAL_IMAGES):
        systems.setdefault(each.result.system, []).append(each)
    rows = []
    for system, own in systems.items():
        several = any(len(column_of(own, metric)) > 1 for metric in metrics_of(own))
        apart = [name for name in ignore if several and name in differing(own)]
        variants: dict[tuple[str, ...], dict[str, Cell]] = {}
        for each in own:
            metric = each.result.metric
            cell = cell_of(each.result, best=best[metric], counted=metric in counted)
            variants.setdefault(tuple(setting_of(each, name) for name in apart), {})[metric] = cell
        for values, cells in variants.items():
            texts = [f"{name} {readable(value)}" for name, value in zip(apart, values, strict=True) if value != ABSENT]
            rows.append(Row(", ".join([system, *texts]), tuple(cells.get(metric) for metric in metrics)))
    return tuple(rows)


def cell_of(result: Result, *, best: str | None, counted: bool) -> Cell:
    """A result as it stands in its column, whose best value is known, and whether its counts are shown."""
    metric = metric_of(result.metric)
    value = printed(result.value, metric)
    return Cell(
        value,
        "" if result.uncertainty is None else printed(result.uncertainty, metric),
        f"{result.samples:,}" if counted else "",
        value == best and result.system != REAL_IMAGES,
    )


def differing(results: Sequence[Measured]) -> set[str]:
    """The settings that differ in any column."""
    return {name for metric in metrics_of(results) for name in differences(column_of(results, metric))}


def best_of(column: Sequence[Measured]) -> str | None:
    """The best value of a column as it is printed; None where there is nothing to compare or it is not comparable.

    Real images are no system, and what was not measured alike, or of other counts of images, has no best.
    """
    systems = [each for each in column if each.result.system != REAL_IMAGES]
    metric = metric_of(column[0].result.metric)
    alike = len({each.result.samples for each in systems}) == 1 and not differences(column)
    if len(systems) < 2 or not alike or not metric.better:
        return None
    choose = max if metric.better == "higher" else min
    return printed(choose(each.result.value for each in systems), metric)


def printed(value: float, metric: Metric) -> str:
    """A value as it stands in a table."""
    return f"{100 * value if metric.share else value:.{metric.digits}f}"


# What is said below a table


def notes(data: str, results: Sequence[Measured], groups: Sequence[Group], ignore: Sequence[str]) -> list[str]:
    """What a reader needs to know of the numbers."""
    remarks = []
    if data in PUBLISHED:
        remarks.append(
            "Published: as printed by Zhang et al., CVPR 2021 (arXiv:2101.04702). Their protocol is the paper's own "
            "and cannot be checked here; where it differs from the measured one, the numbers are not comparable."
        )
        remarks += [PUBLISHED[data].remark] * bool(PUBLISHED[data].remark)
    rows = [row for group in groups for row in group.rows]
    if any(cell is None for row in rows for cell in row.cells):
        remarks.append(f"{NOTHING}: not measured, or not among the published numbers.")
    if any(each.result.uncertainty is not None for each in results):
        remarks.append("±: standard deviation over the splits, folds or subsets of the metric's protocol.")
    counts = [{each.result.samples for each in column_of(results, metric)} for metric in metrics_of(results)]
    if any(len(count) > 1 for count in counts):
        remarks.append(
            "n: images judged, where the counts of a column differ. Fewer images make FID higher and IS lower, on "
            "average; among systems of different counts no best is marked."
        )
    if len(every := set().union(*counts)) == 1:
        remarks.append(f"Measured on {every.pop():,} images each.")
    elif every:
        alike = [f"{column(metric).name} {next(iter(count)):,}" for metric, count in
                 zip(metrics_of(results), counts, strict=True) if len(count) == 1]  # fmt: skip
        remarks += [f"Images judged: {', '.join(alike)}."] * bool(alike)
    if any(cell and cell.best for row in rows for cell in row.cells):
        remarks.append("Bold: the best of a column's measured systems; real images are not one.")
    return remarks + let_through(results, ignore)


def let_through(results: Sequence[Measured], ignore: Sequence[str]) -> list[str]:
    """The ignored settings that do differ, with the systems of each value."""
    texts: dict[str, list[str]] = {}
    for metric in metrics_of(results):
        for name, values in differences(column_of(results, metric)).items():
            if name in ignore:
                systems = [
                    f"{readable(value)} ({'; '.join(dict.fromkeys(each.result.system for each in those))})"
                    for value, those in values.items()
                ]
                texts.setdefault(f"{name} is {' and '.join(systems)}", []).append(column(metric).name)
    return [
        f"Not of one protocol, let through by --ignore: in {', '.join(columns)}, {text}. No best is marked among them."
        for text, columns in texts.items()
    ]


def protocols(results: Sequence[Measured]) -> list[Protocol]:
    """The settings that all columns have in common, then each column's own."""
    settings = {}
    for metric in metrics_of(results):
        those = column_of(results, metric)
        known = [name for name in those[0].result.protocol if name not in {"data", *differences(those)}]
        settings[metric] = {name: readable(setting_of(those[0], name)) for name in known}
    if len(settings) < 2:
        return [Protocol(column(metric).name, tuple(own.items())) for metric, own in settings.items()]
    common = set.intersection(*(set(own.items()) for own in settings.values()))
    first = next(iter(settings.values()))
    texts = [Protocol("all columns", tuple(item for item in first.items() if item in common))] * bool(common)
    for metric, own in settings.items():
        rest = tuple(item for item in own.items() if item not in common)
        texts += [Protocol(column(metric).name, rest)] * bool(rest)
    return texts


# Files


def write_comparison(folder: Path, tables: Sequence[Table], measured: Sequence[Measured]) -> list[Path]:
    """Writes ``comparison.md``, ``.tex`` and ``.html``; earlier ones there are replaced."""
    files = list(dict.fromkeys(str(each.file) for each in measured))
    systems = list(dict.fromkeys(each.result.system for each in measured))
    versions = list(dict.fromkeys(each.result.version for each in measured))
    about = (
        f"{len(measured)} results of {len(systems)} system{'s' * (len(systems) > 1)} from {', '.join(files)}, measured "
        f"with xmcgan {', '.join(versions)}."
    )
    published = any(group.source == "published" for table in tables for group in table.groups)
    title = "Measured beside published" if published else "Measured"
    content = {
        "comparison.md": to_markdown(tables),
        "comparison.tex": to_latex(tables),
        "comparison.html": to_html(tables, title=title, about=about),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        write_text(folder / name, text)
    return [folder / name for name in content]
