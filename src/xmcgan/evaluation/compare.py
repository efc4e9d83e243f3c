"""Compare results of several systems in the paper's Tables 2 and 3, next to the paper's own numbers.

A column holds numbers measured under one protocol. If results of a metric differ in any setting, comparing them raises
an error that lists the differences. Settings can be ignored by name; the table then says so. The paper's numbers form
their own group because their protocol cannot be checked.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from xmcgan.config import suggestion
from xmcgan.evaluation.metric_names import STANDARD_ERRORS
from xmcgan.evaluation.printed_metrics import METRICS, metric_of, printed
from xmcgan.evaluation.published import HUMAN_EVALUATION, PUBLISHED
from xmcgan.evaluation.results import REAL_IMAGES, Result, Setting, read_results
from xmcgan.evaluation.seen import MARKS
from xmcgan.evaluation.tables import EMPTY, Cell, Column, Group, Protocol, Row, Table, to_html, to_latex, to_markdown
from xmcgan.runtime.files import write_text
from xmcgan.runtime.locks import locked_folder

ABSENT = "not stated"

SEEN = "\N{DAGGER}"
"""Marks a number measured by a network that the system was trained with."""


class Measured(NamedTuple):
    """A result, and the file that holds it."""

    result: Result
    file: Path


class ProtocolsDiffer(ValueError):
    """Results of one column have different protocols; the message has one line per differing setting."""


def read_measured(files: Iterable[Path]) -> list[Measured]:
    """Read results of several files, in order; of duplicates only the last is kept.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: on an invalid line, a result without ``protocol["data"]``, a fraction outside 0 to 1, or conflicting
            results for the same system, metric and protocol.
    """
    kept: dict[tuple[str, str, frozenset], Measured] = {}
    for file in files:
        for result in read_results(file):
            where = f"{file}: {result.metric} of {result.system!r}"
            if not isinstance(result.protocol.get("data"), str):
                raise ValueError(f"{where} has no protocol.data; it should name the data set, such as coco14")
            if metric_of(result.metric).share and not 0 <= result.value <= 1:
                raise ValueError(f"{where} is {result.value}; it should be a fraction between 0 and 1")
            settings = frozenset((name, canonical(each)) for name, each in result.protocol.items() if name not in MARKS)
            earlier = kept.get(key := (result.system, result.metric, settings))
            if earlier is not None and numbers(earlier.result) != numbers(result):
                raise ValueError(
                    f"{where} is {result.value!r} on {result.samples:,} images, but {earlier.result.value!r} on "
                    f"{earlier.result.samples:,} in {earlier.file}, under the same protocol; remove one of them, or "
                    "give one system another name"
                )
            kept[key] = Measured(result, file)
    if not kept:
        raise ValueError(f"there are no results in these files: {', '.join(map(str, files))}")
    return list(kept.values())


def numbers(result: Result) -> tuple[float, float | None, int]:
    """The numbers that duplicates of a result must share."""
    return result.value, result.uncertainty, result.samples


def compare(measured: Sequence[Measured], *, table: int | None = None, ignore: Sequence[str] = ()) -> list[Table]:
    """Make one table per data set: the paper's data sets first, with the paper's rows.

    Args:
        measured: results of any number of systems and metrics.
        table: 2 or 3 for only that table of the paper; None for one table per measured data set.
        ignore: settings that may differ within a column. A system gets one row for each combination of their values.

    Raises:
        ProtocolsDiffer: if results of a column differ in other settings.
        ValueError: if no result belongs to the table, or no result has an ignored setting.
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
            raise ValueError(f"no result belongs to Table {table} ({', '.join(wanted)}); data is {', '.join(sets)}")
    settings = {name for each in measured for name in each.result.protocol} - {"data", *MARKS}
    for name in ignore:
        if name not in settings:
            raise ValueError(f"no result has the ignored setting {name!r}{suggestion(name, sorted(settings))}")
    by_data = {data: [each for each in measured if each.result.protocol["data"] == data] for data in wanted}
    check_protocols(by_data, ignore)
    return [make_table(data, results, ignore) for data, results in by_data.items()]


# Protocols


def check_protocols(by_data: dict[str, list[Measured]], ignore: Sequence[str]):
    """Raise ProtocolsDiffer if results of a column differ in settings that are not ignored."""
    columns: dict[tuple[str, str], list[str]] = {}  # metrics grouped by difference: many share the same one
    names = {}
    for data, results in by_data.items():
        for metric in metrics_of(results):
            for name, values in differences(column_of(results, metric)).items():
                if name not in ignore:
                    texts = " and ".join(f"{shorten(value)} in {sources(those)}" for value, those in values.items())
                    columns.setdefault((data, f"{name} is {texts}"), []).append(metric)
                    names[name] = None
    if columns:
        lines = [f"  {data}, {', '.join(metrics)}: {texts}" for (data, texts), metrics in columns.items()]
        raise ProtocolsDiffer(
            "results with different protocols cannot share a column. Differences:\n"
            + "\n".join(lines)
            + f"\nMeasure them under one protocol, or ignore the settings: --ignore {','.join(names)}"
        )


def differences(results: Sequence[Measured]) -> dict[str, dict[str, list[Measured]]]:
    """Settings in which results of a column differ: name -> value -> results with that value."""
    found = {}
    for name in dict.fromkeys(name for each in results for name in each.result.protocol if name not in MARKS):
        values: dict[str, list[Measured]] = {}
        for each in results:
            values.setdefault(setting_of(each, name), []).append(each)
        if len(values) > 1:
            found[name] = values
    return found


def setting_of(measured: Measured, name: str) -> str:
    """A setting as text for comparison; an explicit null differs from a missing setting."""
    protocol = measured.result.protocol
    return canonical(protocol[name]) if name in protocol else ABSENT


def canonical(value: Setting) -> str:
    """A setting as JSON, which distinguishes true from 1; 10.0 becomes 10, since JSON writers differ there."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, ensure_ascii=False)


def shorten(text: str) -> str:
    """Shorten SHA-256 sums in a text to 12 digits, enough to identify a network."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


def readable(setting: str) -> str:
    """A setting's JSON for display: shortened, and text without quotes."""
    return shorten(setting.removeprefix('"').removesuffix('"'))


def sources(results: Sequence[Measured], most: int = 3) -> str:
    """Files and their systems: ``a.jsonl (XMC-GAN), b.jsonl (AttnGAN; DM-GAN)``."""
    systems: dict[Path, dict[str, None]] = {}
    for result, file in results:
        systems.setdefault(file, {})[result.system] = None
    texts = []
    for file, names in systems.items():
        more = f" and {len(names) - most} more" * (len(names) > most)
        texts.append(f"{file} ({'; '.join(list(names)[:most])}{more})")
    return ", ".join(texts)


# One table


def make_table(data: str, results: Sequence[Measured], ignore: Sequence[str]) -> Table:
    """Make the table of one data set."""
    published = PUBLISHED.get(data)
    metrics = list(dict.fromkeys([*(published.metrics if published else ()), *metrics_of(results)]))
    groups = []
    if published:
        rows = tuple(
            Row(system, tuple(Cell(values[metric]) if metric in values else None for metric in metrics))
            for system, values in published.rows.items()
        )
        groups.append(Group("published", "the paper's numbers, under its own protocol", rows))
    if results:
        rows = measured_rows(results, metrics, ignore)
        about = "here; protocols differ, see notes" if differing(results) else "here, one protocol per column"
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
    """The column of a metric."""
    known = metric_of(metric)
    return Column(known.name, "%" if known.share else "", known.better)


def metrics_of(results: Sequence[Measured]) -> list[str]:
    """The measured metrics, in column order."""
    found = dict.fromkeys(each.result.metric for each in results)
    return [name for name in METRICS if name in found] + sorted(name for name in found if name not in METRICS)


def column_of(results: Sequence[Measured], metric: str) -> list[Measured]:
    """The results of one metric."""
    return [each for each in results if each.result.metric == metric]


def measured_rows(results: Sequence[Measured], metrics: Sequence[str], ignore: Sequence[str]) -> tuple[Row, ...]:
    """One row per system, real images first; one per value if a system has several values of an ignored setting."""
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
    """Format a result.

    Args:
        best: the best value of the column, as printed.
        counted: whether to show the number of images.
    """
    metric = metric_of(result.metric)
    value = printed(result.value, metric)
    return Cell(
        value,
        "" if result.uncertainty is None else printed(result.uncertainty, metric),
        f"{result.samples:,}" if counted else "",
        value == best and result.system != REAL_IMAGES,
        SEEN if result.protocol.get("seen_in_training") is True else "",
    )


def differing(results: Sequence[Measured]) -> set[str]:
    """Settings that differ in any column."""
    return {name for metric in metrics_of(results) for name in differences(column_of(results, metric))}


def best_of(column: Sequence[Measured]) -> str | None:
    """The best value of a column as printed, ignoring real images.

    None if there are fewer than two systems, or protocols or numbers of images differ.
    """
    systems = [each for each in column if each.result.system != REAL_IMAGES]
    metric = metric_of(column[0].result.metric)
    alike = len({each.result.samples for each in systems}) == 1 and not differences(column)
    if len(systems) < 2 or not alike or not metric.better:
        return None
    choose = max if metric.better == "higher" else min
    return printed(choose(each.result.value for each in systems), metric)


# Notes below a table


def notes(data: str, results: Sequence[Measured], groups: Sequence[Group], ignore: Sequence[str]) -> list[str]:
    """Notes on how to read the numbers."""
    remarks = []
    if data in PUBLISHED:
        remarks.append(
            "Published: as printed by Zhang et al., CVPR 2021 (arXiv:2101.04702). Their protocol cannot be checked "
            "here; where it differs from the measured one, the numbers are not comparable."
        )
        remarks += [PUBLISHED[data].remark] * bool(PUBLISHED[data].remark)
    how = HUMAN_EVALUATION + (PUBLISHED[data].human_evaluation if data in PUBLISHED else "")
    remarks += [how] * any(metric.startswith("human-") for metric in metrics_of(results))
    rows = [row for group in groups for row in group.rows]
    remarks += [f"{EMPTY}: not measured or not published."] * any(None in row.cells for row in rows)
    if any(each.result.uncertainty is not None and each.result.metric not in STANDARD_ERRORS for each in results):
        remarks.append("±: standard deviation over the splits, folds or subsets of the metric's protocol.")
    counts = [{each.result.samples for each in column_of(results, metric)} for metric in metrics_of(results)]
    if any(len(count) > 1 for count in counts):
        remarks.append(
            "n: number of evaluated images, shown where it differs within a column. Fewer images raise FID and lower "
            "IS on average, so no best value is marked there."
        )
    if len(every := set().union(*counts)) == 1:
        remarks.append(f"Measured on {every.pop():,} images each.")
    elif every:
        alike = [f"{column(metric).name} {next(iter(count)):,}" for metric, count in
                 zip(metrics_of(results), counts, strict=True) if len(count) == 1]  # fmt: skip
        remarks += [f"Evaluated images: {', '.join(alike)}."] * bool(alike)
    if any(cell and cell.best for row in rows for cell in row.cells):
        remarks.append("Bold: the best measured system of a column, not counting real images.")
    if any(each.result.uncertainty is not None and each.result.metric in STANDARD_ERRORS for each in results):
        remarks.append("±: standard error for exact questions, alignments, authenticity, diversity and FD-infinity.")
    return remarks + system_notes(results) + ignored_differences(results, ignore)


def system_notes(results: Sequence[Measured]) -> list[str]:
    """Notes on marked numbers, and on systems with re-estimated batch norm."""
    remarks = []
    seen = [each.result for each in results if each.result.protocol.get("seen_in_training") is True]
    if seen:
        systems = {result.system: result.protocol.get("trained_with") for result in seen}
        texts = "; ".join(f"{system} ({networks})" for system, networks in systems.items())
        remarks.append(f"{SEEN}: by a network that the system was trained with, so no independent measure: {texts}.")
    norms = {each.result.system: each.result.protocol.get("batch_norm") for each in results}
    texts = "; ".join(f"{system}: {norm}" for system, norm in norms.items() if norm)
    return [*remarks, f"Batch norm: {texts}."] if texts else remarks


def ignored_differences(results: Sequence[Measured], ignore: Sequence[str]) -> list[str]:
    """Notes on ignored settings that differ, with the systems of each value."""
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
        f"Protocols differ (--ignore): in {', '.join(columns)}, {text}. No best value is marked there."
        for text, columns in texts.items()
    ]


def protocols(results: Sequence[Measured]) -> list[Protocol]:
    """Settings common to all columns, then the settings of each column."""
    settings = {}
    for metric in metrics_of(results):
        those = column_of(results, metric)
        known = [name for name in those[0].result.protocol if name not in {"data", *MARKS, *differences(those)}]
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
    """Write ``comparison.md``, ``.tex`` and ``.html`` to a folder, replacing existing ones."""
    files = list(dict.fromkeys(str(each.file) for each in measured))
    systems = list(dict.fromkeys(each.result.system for each in measured))
    versions = list(dict.fromkeys(each.result.version for each in measured))
    about = (
        f"{len(measured)} results of {len(systems)} system{'s' * (len(systems) > 1)} from {', '.join(files)}, measured "
        f"with xmcgan {', '.join(versions)}."
    )
    published = any(group.source == "published" for table in tables for group in table.groups)
    title = "Measured and published results" if published else "Measured results"
    content = {
        "comparison.md": to_markdown(tables),
        "comparison.tex": to_latex(tables),
        "comparison.html": to_html(tables, title=title, about=about),
    }
    with locked_folder(folder, "written into", wait=True):
        return [write_text(folder / name, text) for name, text in content.items()]
