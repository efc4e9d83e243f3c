"""Krippendorff's alpha against published worked examples."""

import numpy as np
import pytest

from xmcgan.study.analysis.krippendorff import alpha

N = np.nan
# K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers, twelve units.
KRIPPENDORFF = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]).T  # fmt: skip
# "Krippendorff's alpha" on Wikipedia: three coders, fifteen units.
WIKIPEDIA = np.array([
    [N, N, N, N, N, 3, 4, 1, 2, 1, 1, 3, 3, N, 3],
    [1, N, 2, 1, 3, 3, 4, 3, N, N, N, N, N, N, N],
    [N, N, 2, 1, 3, 4, 4, N, 2, 1, 1, 3, 3, N, 4],
]).T  # fmt: skip


@pytest.mark.parametrize(
    ("values", "metric", "published"),
    [(KRIPPENDORFF, "nominal", 0.743), (KRIPPENDORFF, "ordinal", 0.815), (WIKIPEDIA, "nominal", 0.691)],
)
def test_published_examples(values, metric, published):
    assert alpha(values, metric) == pytest.approx(published, abs=0.0005)


def test_ordinal_needs_the_order_of_values_not_their_size():
    assert alpha(KRIPPENDORFF**3, "ordinal") == pytest.approx(alpha(KRIPPENDORFF, "ordinal"))
    assert alpha(6 - KRIPPENDORFF, "ordinal") == pytest.approx(alpha(KRIPPENDORFF, "ordinal"))
    swapped = np.where(KRIPPENDORFF == 1, 3, np.where(KRIPPENDORFF == 3, 1, KRIPPENDORFF))
    assert alpha(swapped, "ordinal") != pytest.approx(alpha(KRIPPENDORFF, "ordinal"), abs=0.003)
    assert alpha(swapped, "nominal") == pytest.approx(alpha(KRIPPENDORFF, "nominal"))


def test_full_agreement_chance_and_nothing_to_measure():
    same = np.tile(np.arange(4.0)[:, None], (1, 3))
    assert alpha(same, "nominal") == alpha(same, "ordinal") == 1
    random = np.random.default_rng(0).integers(4, size=(4000, 3)).astype(float)
    assert alpha(random, "ordinal") == pytest.approx(0, abs=0.03)
    assert np.isnan(alpha(np.ones((5, 2)), "nominal"))  # one value: no disagreement is possible
    assert np.isnan(alpha(np.array([[1, N], [N, 2]]), "nominal"))  # no unit with two values
