"""The paper's numbers (Zhang et al., CVPR 2021, arXiv:2101.04702), for comparison with measured ones.

Values are text with the printed digits; fractions are in per cent. Values that the paper omits, or gives only as a
difference, are not filled in from elsewhere.
"""

from typing import NamedTuple


class PublishedTable(NamedTuple):
    """The paper's numbers on one data set."""

    number: int  # of the table in the paper
    title: str
    metrics: tuple[str, ...]  # the columns
    rows: dict[str, dict[str, str]]  # values by system and metric
    remark: str = ""  # further information from the paper
    beside: tuple[str, ...] = ()  # metrics of figures; they get a column only if they were measured
    human_evaluation: str = ""  # how the paper's annotators were asked


HUMAN_EVALUATION = (
    "Ranked best: share of annotators' answers; ± is its standard error over captions and annotators. It "
    "depends on which systems were compared."
)


PUBLISHED = {
    "coco14": PublishedTable(
        2,
        "COCO-14",
        ("is", "fid", "r-precision", "soa-c", "soa-i"),
        {
            "AttnGAN": {"is": "23.61", "fid": "33.10", "soa-c": "25.88", "soa-i": "39.01"},
            "DM-GAN": {"is": "32.32", "fid": "27.34", "soa-c": "33.44", "soa-i": "48.03"},
            "OP-GAN": {"fid": "24.70", "human-realism": "9.90", "human-alignment": "9.70"},
            "CP-GAN": {"is": "52.73", "fid": "55.82", "r-precision": "59"},
            "XMC-GAN": {
                "is": "30.45",
                "fid": "9.33",
                "r-precision": "71",
                "soa-c": "50.94",
                "soa-i": "71.33",
                "human-realism": "77.3",
                "human-alignment": "74.1",
            },
        },
        "The paper's: 256 px, 30,000 random validation captions, R-precision by a dual encoder trained on Conceptual "
        "Captions, SOA by YOLOv3.",
        ("human-realism", "human-alignment"),
        " The paper (Figure 3): 1,000 captions, 5 annotators each, who ranked XMC-GAN, OP-GAN, SD-GAN and CP-GAN.",
    ),
    "ln-coco": PublishedTable(
        3,
        "LN-COCO",
        ("is", "fid", "r-precision"),
        {"TReCS": {"fid": "48.70"}, "XMC-GAN": {"fid": "14.12"}},
        "The paper also says how far XMC-GAN is ahead: its IS is 7.07 above that of TReCS, its R-precision 23.04 "
        "points above that of AttnGAN.",
    ),
    "ln-openimages": PublishedTable(
        3,
        "LN-OpenImages",
        ("is", "fid", "r-precision"),
        {"XMC-GAN": {"is": "24.90", "fid": "26.91", "r-precision": "57.55"}},
    ),
}
"""Keyed by data set, as in ``xmcgan data`` and in ``protocol["data"]`` of a result."""
