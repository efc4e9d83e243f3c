"""Published numbers of later systems."""

from xmcgan.evaluation.printed_metrics import METRICS
from xmcgan.evaluation.published_later import LATER, later_tables
from xmcgan.evaluation.tables import to_markdown
from xmcgan.metrics.tise import ranking_score


def test_every_row_has_a_source_and_known_columns():
    for tables in LATER.values():
        for table in tables:
            assert table.protocol
            assert set(table.metrics) - {"RS"} <= METRICS.keys()
            for system, values in table.rows.items():
                assert system in table.sources or "all" in table.sources
                assert values
                assert values.keys() <= set(table.metrics)
                assert all(float(value) >= 0 for value in values.values())


def test_a_protocol_has_a_table_of_its_own():
    tables = later_tables(["coco14", "coco14", "scenes"])
    assert [table.title for table in tables] == [table.title for table in LATER["coco14"]]
    text = to_markdown(tables)
    assert "| GigaGAN" in text
    assert "arXiv 2303.05511" in text
    assert "truncated noise" in text


def test_the_ranking_scores_are_those_of_the_rows():
    """TISE's column RS follows from the other columns."""
    table = LATER["coco14"][-1]
    names = {
        "IS*": "is-star", "FID": "fid", "RP": "r-precision", "SOA-C": "soa-c", "SOA-I": "soa-i", "O-IS": "o-is",
        "O-FID": "o-fid", "CA": "counting-alignment", "PA": "positional-alignment",
    }  # fmt: skip
    rows = {
        system: {of: float(values[metric]) for of, metric in names.items()} for system, values in table.rows.items()
    }
    assert ranking_score(rows) == {system: float(values["RS"]) for system, values in table.rows.items()}
