"""Comparison tables: measured and published values, and protocols that must not share a column."""

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from xmcgan.evaluation.compare import METRICS, Measured, ProtocolsDiffer, compare, read_measured, write_comparison
from xmcgan.evaluation.published import PUBLISHED
from xmcgan.evaluation.results import REAL_IMAGES, Result, append_results
from xmcgan.evaluation.tables import Cell, Table, to_markdown

NONE = "\N{EN DASH}"
HASH = "0123456789ab" + "c" * 52


def result(system: str, metric: str, value: float, uncertainty: float | None = None, **settings) -> Result:
    """A result of COCO-14, of one protocol unless settings say otherwise."""
    protocol = {"data": "coco14", "network": "inception-v3-tf", "weights_sha256": HASH, "resize": "antialiased"}
    return Result(metric, value, uncertainty, 30_000, system, protocol | settings, 1.0)


def in_file(*results: Result, file: str = "a.jsonl") -> list[Measured]:
    return [Measured(each, Path(file)) for each in results]


def cells(table: Table, source: str) -> dict[str, list[str]]:
    """The rows of a group, each cell as one text."""

    def text(cell: Cell | None) -> str:
        if cell is None:
            return NONE
        parts = [f"± {cell.uncertainty}" if cell.uncertainty else "", f"n {cell.samples}" if cell.samples else ""]
        return " ".join([f"*{cell.value}*" if cell.best else cell.value, *filter(None, parts)])

    (group,) = [group for group in table.groups if group.source == source]
    return {row.name: [text(cell) for cell in row.cells] for row in group.rows}


OURS = [
    result("XMC-GAN", "fid", 11.234),
    result("XMC-GAN", "is", 28.125, 0.41, splits=10),
    result("XMC-GAN", "r-precision", 0.68123, 0.005, folds=10),
    result("XMC-GAN", "soa-c", 0.4832),
    result("XMC-GAN", "soa-i", 0.6921),
]
OTHERS = [
    result("OP-GAN", "fid", 24.7),
    result("OP-GAN", "is", 30.0, 0.3, splits=10),
    result("OP-GAN", "r-precision", 0.5, 0.004, folds=10),
    result(REAL_IMAGES, "fid", 0.0),
    result(REAL_IMAGES, "r-precision", 0.7, 0.004, folds=10),
]


# Tables


def test_table_2_matches_golden_file():
    path = Path(__file__).parent / "golden" / "comparison_table_2.md"
    text = to_markdown(compare(in_file(*OURS) + in_file(*OTHERS, file="b.jsonl")))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_table_3_shows_both_narratives_data_sets():
    narratives = {"data": "ln-coco", "network": "inception-v3-tf"}
    one = Result("fid", 15.5, None, 8_573, "XMC-GAN", narratives, 1.0)
    coco, images = compare(in_file(*OURS, one), table=3)  # of COCO-14 nothing is shown
    assert [coco.title, images.title] == ["LN-COCO (Table 3 of the paper)", "LN-OpenImages (Table 3 of the paper)"]
    assert [column.name for column in coco.columns] == ["IS", "FID", "R-precision"]
    assert cells(coco, "published") == {"TReCS": [NONE, "48.70", NONE], "XMC-GAN": [NONE, "14.12", NONE]}
    assert cells(coco, "measured") == {"XMC-GAN": [NONE, "15.50", NONE]}
    assert cells(images, "published") == {"XMC-GAN": ["24.90", "26.91", "57.55"]}
    assert [group.source for group in images.groups] == ["published"]
    assert any("7.07 above that of TReCS" in note for note in coco.notes)


def test_published_metrics_are_known():
    for table in PUBLISHED.values():
        for row in table.rows.values():
            assert row.keys() <= {*table.metrics, *table.beside} <= METRICS.keys()
            assert all(float(value) > 0 for value in row.values())


def test_human_evaluation_stands_beside_the_papers_only_where_it_was_measured():
    (without,) = compare(in_file(*OURS))
    assert not any("Ranked best" in column.name for column in without.columns)
    assert not any("Ranked best" in note for note in without.notes)
    measured = [result("ours", "human-realism", 0.7314, 0.0181), result("OP-GAN", "human-realism", 0.1)]
    (table,) = compare(in_file(*OURS, *measured))
    assert [(column.name, column.unit) for column in table.columns[5:]] == [("Ranked best, realism", "%")]
    assert cells(table, "published")["XMC-GAN"][5] == "77.3"
    assert cells(table, "published")["OP-GAN"][5] == "9.90"
    assert cells(table, "published")["CP-GAN"][5] == NONE
    assert cells(table, "measured")["ours"][5] == "*73.1* ± 1.8"
    assert any("who ranked XMC-GAN, OP-GAN, SD-GAN and CP-GAN" in note for note in table.notes)
    (elsewhere,) = compare(in_file(result("ours", "human-realism", 0.7, data="scenes")))
    assert any("depends on which systems" in note and "Figure 3" not in note for note in elsewhere.notes)


def test_other_data_sets_have_no_published_rows():
    scenes = [result("scenes-64", name, 0.5, data="scenes") for name in ("kid", "my-metric", "precision", "fid")]
    first, second = compare(in_file(*scenes, *OURS))
    assert first.title.startswith("COCO-14")
    assert second.title == "scenes (not in the paper)"
    assert [column.name for column in second.columns] == ["FID", "KID", "Precision", "my-metric"]
    assert [group.source for group in second.groups] == ["measured"]
    assert cells(second, "measured") == {"scenes-64": ["0.50", "0.5000", "0.500", "0.5000"]}


def test_further_metrics_follow_the_papers_columns():
    (table,) = compare(in_file(*OURS, result("XMC-GAN", "kid", 0.00123, 0.0001, subset_size=1000)))
    assert [column.name for column in table.columns][5:] == ["KID"]
    assert cells(table, "published")["XMC-GAN"][5] == NONE
    assert cells(table, "measured")["XMC-GAN"][5] == "0.0012 ± 0.0001"


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({"A": 9.0, "B": 8.0}, {"B"}),
        ({"A": 9.001, "B": 8.999}, {"A", "B"}),  # which print alike
        ({"A": 9.0}, set()),  # nothing to compare
        ({"A": 9.0, REAL_IMAGES: 0.0}, set()),
        ({"A": 9.0, "B": 8.0, REAL_IMAGES: 0.0}, {"B"}),
    ],
)
def test_best_value_is_marked(values, best):
    (table,) = compare(in_file(*(result(system, "fid", value) for system, value in values.items())))
    rows = table.groups[1].rows
    assert {row.name for row in rows if row.cells[1] and row.cells[1].best} == best
    assert any(note.startswith("Bold") for note in table.notes) == bool(best)


def test_differing_numbers_of_images_are_shown_without_a_best():
    few = replace(result("OP-GAN", "fid", 8.0), samples=5_000)
    (table,) = compare(in_file(*OURS, few, result("OP-GAN", "soa-c", 0.2)))
    assert cells(table, "measured") == {
        "XMC-GAN": ["28.12 ± 0.41", "11.23 n 30,000", "68.12 ± 0.50", "*48.32*", "69.21"],
        "OP-GAN": [NONE, "8.00 n 5,000", NONE, "20.00", NONE],
    }
    assert any(note.startswith("n: number of evaluated images") for note in table.notes)
    assert "Evaluated images: IS 30,000, R-precision 30,000, SOA-C 30,000, SOA-I 30,000." in table.notes
    assert "Measured on 30,000 images each." in compare(in_file(*OURS))[0].notes


def test_common_settings_are_listed_once():
    (table,) = compare(in_file(*OURS[:2]))
    network, weights, resize = ("network", "inception-v3-tf"), ("weights_sha256", HASH[:12]), ("resize", "antialiased")
    assert [(each.of, each.settings) for each in table.protocols] == [
        ("all columns", (network, weights, resize)),
        ("IS", (("splits", "10"),)),
    ]
    (alone,) = compare(in_file(OURS[0]))
    assert [(each.of, each.settings) for each in alone.protocols] == [("FID", (network, weights, resize))]


def test_note_on_published_protocol():
    (table,) = compare(in_file(*OURS))
    assert "cannot be checked here" in table.notes[0]
    assert "protocol" in table.groups[0].about


# Protocols that differ


def test_different_protocols_are_rejected():
    legacy = in_file(result("OP-GAN", "fid", 24.7, resize="legacy"), result("OP-GAN", "soa-c", 0.2), file="b.jsonl")
    with pytest.raises(ProtocolsDiffer) as caught:
        compare(in_file(*OURS) + legacy)
    assert str(caught.value) == (
        "results with different protocols cannot share a column. Differences:\n"
        '  coco14, fid: resize is "antialiased" in a.jsonl (XMC-GAN) and "legacy" in b.jsonl (OP-GAN)\n'
        "Measure them under one protocol, or ignore the settings: --ignore resize"
    )


def test_error_lists_every_difference_with_files_and_systems():
    changed = {"resize": "legacy", "weights_sha256": "f" * 64, "png": None}
    other = in_file(
        result("OP-GAN", "fid", 24.7, **changed),
        result("AttnGAN", "fid", 33.1, **changed),
        result("OP-GAN", "is", 20.0, **changed, splits=1),
        file="b.jsonl",
    )
    with pytest.raises(ProtocolsDiffer) as caught:
        compare(in_file(*OURS) + other)
    of_fid, of_is = "b.jsonl (OP-GAN; AttnGAN)", "b.jsonl (OP-GAN)"
    assert str(caught.value).splitlines()[1:-1] == [
        f'  coco14, is: weights_sha256 is "{HASH[:12]}" in a.jsonl (XMC-GAN) and "{"f" * 12}" in {of_is}',
        f'  coco14, is: resize is "antialiased" in a.jsonl (XMC-GAN) and "legacy" in {of_is}',
        f"  coco14, is: splits is 10 in a.jsonl (XMC-GAN) and 1 in {of_is}",
        f"  coco14, is: png is not stated in a.jsonl (XMC-GAN) and null in {of_is}",
        f'  coco14, fid: weights_sha256 is "{HASH[:12]}" in a.jsonl (XMC-GAN) and "{"f" * 12}" in {of_fid}',
        f'  coco14, fid: resize is "antialiased" in a.jsonl (XMC-GAN) and "legacy" in {of_fid}',
        f"  coco14, fid: png is not stated in a.jsonl (XMC-GAN) and null in {of_fid}",
    ]
    assert str(caught.value).endswith("--ignore weights_sha256,resize,splits,png")


def test_error_groups_columns_with_the_same_difference():
    other = [replace(each, system="B", protocol=each.protocol | {"fit": "crop"}) for each in OURS]
    with pytest.raises(ProtocolsDiffer) as caught:
        compare(in_file(*OURS, *other))
    (line,) = str(caught.value).splitlines()[1:-1]
    assert line == (
        '  coco14, is, fid, r-precision, soa-c, soa-i: fit is not stated in a.jsonl (XMC-GAN) and "crop" in a.jsonl (B)'
    )


PAIRS = list(itertools.combinations([None, False, 0, "0", "", "null", 1, True, 1.5], 2))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_settings_of_different_types_differ(one, other):
    with pytest.raises(ProtocolsDiffer):
        compare(in_file(result("A", "fid", 1.0, x=one), result("B", "fid", 2.0, x=other)))


def test_10_equals_10_0():
    (table,) = compare(in_file(result("A", "fid", 1.0, x=10), result("B", "fid", 2.0, x=10.0)))
    assert cells(table, "measured")["A"][1] == "*1.00*"


def test_protocols_are_compared_per_column_and_data_set():
    scenes = result("A", "fid", 1.0, x=3, data="scenes")
    assert len(compare(in_file(result("A", "fid", 1.0, x=1), result("A", "is", 1.0, x=2), scenes))) == 2
    other = [result("A", "fid", 1.0, x=1, data="scenes"), result("B", "fid", 1.0, x=2, data="scenes")]
    with pytest.raises(ProtocolsDiffer, match="scenes, fid: x is 1"):
        compare(in_file(*OURS, *other))
    assert len(compare(in_file(*OURS, *other), table=2)) == 1  # the other data set is not shown


def test_error_shortens_long_lists_of_systems():
    with pytest.raises(ProtocolsDiffer, match=r"x is 1 in a\.jsonl \(S0; S1; S2 and 2 more\) and 2 in a\.jsonl \(T\)"):
        compare(in_file(*(result(f"S{k}", "fid", 1.0, x=1) for k in range(5)), result("T", "fid", 1.0, x=2)))


def test_ignored_difference_is_noted_and_no_best_is_marked():
    other = result("OP-GAN", "fid", 8.0, resize="legacy"), result("OP-GAN", "soa-c", 0.2)
    (table,) = compare(in_file(*OURS, *other), ignore=["resize"])
    assert cells(table, "measured") == {
        "XMC-GAN": ["28.12 ± 0.41", "11.23", "68.12 ± 0.50", "*48.32*", "69.21"],
        "OP-GAN": [NONE, "8.00", NONE, "20.00", NONE],
    }
    assert (
        "Protocols differ (--ignore): in FID, resize is antialiased (XMC-GAN) and legacy (OP-GAN). "
        "No best value is marked there." in table.notes
    )
    assert "protocols differ" in table.groups[1].about
    own = {each.of: dict(each.settings) for each in table.protocols}
    assert all("resize" not in own.get(name, {}) for name in ("all columns", "FID"))
    assert own["SOA-C"]["resize"] == "antialiased"


def test_ignoring_an_equal_setting_changes_nothing():
    assert compare(in_file(*OURS), ignore=["resize"]) == compare(in_file(*OURS))


def test_only_named_settings_are_ignored():
    other = result("OP-GAN", "fid", 8.0, resize="legacy", fit="crop")
    with pytest.raises(ProtocolsDiffer, match=r"--ignore fit$") as caught:
        compare(in_file(*OURS, other), ignore=["resize"])
    assert "resize" not in str(caught.value)


def test_one_row_for_each_value_of_an_ignored_setting():
    values = {"antialiased": 11.234, "legacy": 12.5}
    several = [result("XMC-GAN", "fid", value, resize=resize) for resize, value in values.items()]
    without = Result("soa-c", 0.5, None, 30_000, "XMC-GAN", {"data": "coco14"}, 1.0)
    (table,) = compare(in_file(*several, without, result("OP-GAN", "fid", 24.7, resize="legacy")), ignore=["resize"])
    assert cells(table, "measured") == {
        "XMC-GAN, resize antialiased": [NONE, "11.23", NONE, NONE, NONE],
        "XMC-GAN, resize legacy": [NONE, "12.50", NONE, NONE, NONE],
        "XMC-GAN": [NONE, NONE, NONE, "50.00", NONE],
        "OP-GAN": [NONE, "24.70", NONE, NONE, NONE],
    }


# Files


def test_last_duplicate_is_kept(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    append_results(first, OURS)
    append_results(second, [replace(OURS[0], seconds=99.0, protocol=dict(reversed(OURS[0].protocol.items())))])
    read = read_measured([first, second])
    assert len(read) == len(OURS)
    assert (read[0].result.seconds, read[0].file) == (99.0, second)  # and at its old place among the rows
    assert [each.result for each in read[1:]] == OURS[1:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 11.5}, "is 11.5 on 30,000 images, but 11.234 on 30,000 in"),
        ({"samples": 5_000}, "is 11.234 on 5,000 images, but 11.234 on 30,000 in"),
        ({"uncertainty": 0.1}, "under the same protocol; remove one of them"),
    ],
)
def test_conflicting_results_are_rejected(tmp_path, change, said):
    append_results(tmp_path / "a.jsonl", OURS)
    append_results(tmp_path / "b.jsonl", [replace(OURS[0], **change)])
    with pytest.raises(ValueError, match=said) as caught:
        read_measured([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert str(caught.value).startswith(f"{tmp_path / 'b.jsonl'}: fid of 'XMC-GAN' ")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Result("fid", 1.0, None, 5, "A", {"network": "x"}, 1.0), "fid of 'A' has no protocol.data"),
        (Result("fid", 1.0, None, 5, "A", {"data": None}, 1.0), "fid of 'A' has no protocol.data"),
        (result("A", "r-precision", 71.0), "r-precision of 'A' is 71.0; it should be a fraction between 0 and 1"),
        (result("A", "soa-i", -0.1), "soa-i of 'A' is -0.1; it should be a fraction between 0 and 1"),
    ],
)
def test_invalid_results_are_rejected(tmp_path, wrong, said):
    append_results(tmp_path / "a.jsonl", [wrong])
    with pytest.raises(ValueError, match=said):
        read_measured([tmp_path / "a.jsonl"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": 1}, "table is 1; it should be 2 or 3"),
        ({"table": 3}, r"no result belongs to Table 3 \(ln-coco, ln-openimages\); data is coco14"),
        ({"ignore": ["resise"]}, "no result has the ignored setting 'resise'; did you mean 'resize'"),
    ],
)
def test_invalid_options_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        compare(in_file(*OURS), **options)


def test_no_results(tmp_path):
    with pytest.raises(ValueError, match="there are no results in these files"):
        compare([])
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file in files:
        file.touch()
    with pytest.raises(ValueError, match=f"there are no results in these files: {files[0]}, {files[1]}"):
        read_measured(files)


def test_three_files_say_the_same_and_earlier_ones_are_replaced(tmp_path):
    folder = tmp_path / "deep/tables"
    for results in (OURS[:1], OURS):
        measured = in_file(*results)
        written = write_comparison(folder, compare(measured), measured)
    assert [path.name for path in written] == ["comparison.md", "comparison.tex", "comparison.html"]
    assert sorted(folder.iterdir()) == sorted(written)
    for path in written:
        text = path.read_text(encoding="utf-8")
        for number in ("28.12", "11.23", "68.12", "48.32", "69.21", "9.33", "33.44"):
            assert number in text, path.name
        assert "published" in text.lower()
    assert "5 results of 1 system from a.jsonl, measured with xmcgan" in written[2].read_text(encoding="utf-8")


def test_a_number_by_a_network_that_training_has_seen_is_marked_in_its_column():
    ours = result("ours", "fid", 11.0)
    marks = {"trained_with": "clip, vgg19", "seen_in_training": True, "batch_norm": "re-estimated over 8 batches"}
    seen = result("theirs", "fid", 10.0, **marks)
    (table,) = compare(in_file(ours, seen))
    texts = to_markdown([table])
    assert "10.00**\N{DAGGER}" in texts
    assert "11.00\N{DAGGER}" not in texts
    assert any("no independent measure: theirs (clip, vgg19)" in note for note in table.notes)
    assert "Batch norm: theirs: re-estimated over 8 batches." in table.notes
    assert not any("trained" in name for protocol in table.protocols for name, _ in protocol.settings)
    truncated = replace(ours, system="cut", protocol=ours.protocol | {"truncation": 0.88})
    with pytest.raises(ProtocolsDiffer, match="truncation"):
        compare(in_file(ours, truncated))


def test_a_standard_error_is_not_called_a_deviation():
    (paper,) = compare(in_file(*OURS))
    assert not any("standard error" in note for note in paper.notes)
    (table,) = compare(in_file(*OURS, result("XMC-GAN", "exact", 0.5, 0.01, questions="captions")))
    assert any(note.startswith("\N{PLUS-MINUS SIGN}: standard error for exact questions") for note in table.notes)
    (table,) = compare(in_file(result("XMC-GAN", "exact", 0.5, 0.01, questions="captions")))
    assert not any("standard deviation" in note for note in table.notes)
