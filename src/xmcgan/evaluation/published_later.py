"""Numbers of systems published after the paper, or measured again by others, as their sources give them.

Each table holds one protocol, and none is the paper's or this library's: they are printed as separate tables, never in
a column with other numbers. Only numbers that could be checked against a source are here; a source is the paper that
reports them, or an index that quotes it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from xmcgan.evaluation.printed_metrics import metric_of
from xmcgan.evaluation.tables import Cell, Column, Group, Row, Table


class LaterTable(NamedTuple):
    """Published numbers of one protocol on one data set."""

    title: str
    protocol: str  # as the authors state it
    metrics: tuple[str, ...]  # the columns
    rows: dict[str, dict[str, str]]  # printed values by system and metric
    sources: dict[str, str]  # by system


LATER: dict[str, tuple[LaterTable, ...]] = {
    "coco14": (
        LaterTable(
            "COCO, systems trained on COCO alone or with pretrained networks",
            "FID at 256 x 256 as each paper's authors computed it; they differ in FID code, captions and truncation, "
            "so even these are no ranking. DF-GAN's code of 2022 evaluates with truncated noise (truncation: True, "
            "trunc_rate: 0.88 in its published configuration), which lowers FID and diversity. LAFITE is trained with "
            "a pretrained CLIP.",
            ("fid", "is", "soa-c"),
            {
                "DF-GAN": {"fid": "19.32"},
                "LAFITE": {"fid": "8.12", "is": "32.34", "soa-c": "61.09"},
                "U-ViT-S/2, diffusion": {"fid": "5.95"},
                "U-ViT-S/2 (Deep), diffusion": {"fid": "5.48"},
            },
            {
                "DF-GAN": "Tao et al., CVPR 2022 (arXiv 2008.05865), as quoted in tobran/DF-GAN issue 32; truncation: "
                "code/cfg/flower.yml at 886ae400",
                "LAFITE": "Zhou et al., CVPR 2022 (arXiv 2111.13792), from the Papers with Code archive",
                "U-ViT-S/2, diffusion": "Bao et al., CVPR 2023 (arXiv 2209.12152), README of baofff/U-ViT at 1073f198",
                "U-ViT-S/2 (Deep), diffusion": "the same",
            },
        ),
        LaterTable(
            "COCO, zero-shot: trained on other images",
            "Zero-shot FID of 30,000 captions of COCO's 2014 validation set at 256 x 256. Not comparable with systems "
            "trained on COCO.",
            ("fid",),
            {
                "LAFITE": {"fid": "26.94"},
                "GALIP (CC12M)": {"fid": "12.54"},
                "StyleGAN-T": {"fid": "13.90"},
                "GigaGAN": {"fid": "9.09"},
            },
            {
                "LAFITE": "Zhou et al., CVPR 2022 (arXiv 2111.13792), from the Papers with Code archive",
                "GALIP (CC12M)": "Tao et al., CVPR 2023 (arXiv 2301.12959), from the Papers with Code archive",
                "StyleGAN-T": "Sauer et al., ICML 2023 (arXiv 2301.09515), from the Papers with Code archive",
                "GigaGAN": "Kang et al., CVPR 2023 (arXiv 2303.05511), from the Papers with Code archive",
            },
        ),
        LaterTable(
            "COCO, zero-shot at 64 x 64",
            "Zero-shot FID of 30,000 captions of COCO's 2014 validation set at 64 x 64.",
            ("fid",),
            {"StyleGAN-T": {"fid": "7.30"}, "GigaGAN": {"fid": "7.28"}},
            {
                "StyleGAN-T": "Sauer et al., ICML 2023 (arXiv 2301.09515), from the Papers with Code archive",
                "GigaGAN": "Kang et al., CVPR 2023 (arXiv 2303.05511), from the Papers with Code archive",
            },
        ),
        LaterTable(
            "COCO, TISE's benchmark",
            "Dinh et al., ECCV 2022 (arXiv 2112.01398): IS* with TISE's temperature, FID by pytorch-fid, R-precision "
            "by CLIP ViT-B/32, SOA by a detector of its own, O-IS and O-FID of crops by Mask R-CNN, counting by "
            "CountSeg, positions by CLIP. RS is the ranking score over these systems.",
            ("is-star", "fid", "r-precision", "soa-c", "soa-i", "o-is", "o-fid", "counting-alignment",
             "positional-alignment", "RS"),
            {
                name: dict(
                    zip(
                        ("is-star", "fid", "r-precision", "soa-c", "soa-i", "o-is", "o-fid", "counting-alignment",
                         "positional-alignment", "RS"),
                        values.split(),
                        strict=True,
                    )
                )
                for name, values in {
                    "Real images": "51.25 2.62 83.54 90.02 91.19 8.63 0.00 1.05 100.00 65.0",
                    "AttnGAN++": "54.63 26.58 72.48 67.83 69.97 6.01 15.43 1.57 47.75 56.0",
                    "DM-GAN + CL": "46.61 22.60 70.36 58.68 61.05 5.09 15.50 1.66 49.06 51.5",
                    "CPGAN": "59.64 50.68 69.08 81.86 83.83 6.38 20.07 2.07 43.28 43.0",
                    "DM-GAN": "45.63 28.96 66.98 55.77 58.11 5.22 17.48 1.71 42.83 41.0",
                    "AttnGAN + CL": "36.85 26.93 57.52 47.45 49.33 4.92 19.92 1.72 43.92 37.0",
                    "DF-GAN": "30.45 21.05 42.44 37.85 40.19 5.12 14.39 1.96 40.39 31.5",
                    "AttnGAN": "33.79 36.90 50.56 47.13 49.78 5.04 20.92 1.82 40.08 29.0",
                    "DALLE-Mini": "19.82 62.90 48.72 26.64 27.90 4.10 23.83 2.31 47.39 23.5",
                    "StackGAN": "15.50 53.44 9.10 9.24 9.90 3.36 29.09 2.41 34.33 11.5",
                    "GAN-CLS": "8.10 192.09 10.00 5.31 5.71 2.46 51.13 2.51 32.79 7.0",
                }.items()
            },
            {"all": "VinAIResearch/tise-toolbox at f61fb07c, ranking_scores/results/coco_benchmark_results.txt"},
        ),
    ),
    "cifar10": (
        LaterTable(
            "CIFAR-10, R3GAN",
            "FID without captions, as its authors computed it.",
            ("fid",),
            {"R3GAN": {"fid": "1.96"}},
            {"R3GAN": "Huang et al., NeurIPS 2024 (arXiv 2501.05441), from the Papers with Code archive"},
        ),
    ),
    "ffhq-256": (
        LaterTable(
            "FFHQ at 256 x 256, R3GAN",
            "FID without captions, as its authors computed it.",
            ("fid",),
            {"R3GAN": {"fid": "2.75"}},
            {"R3GAN": "Huang et al., NeurIPS 2024 (arXiv 2501.05441), from the Papers with Code archive"},
        ),
    ),
}  # fmt: skip
"""Keyed by data set, as in ``protocol["data"]`` of a result."""


def later_tables(data: Iterable[str]) -> list[Table]:
    """Tables of the data sets that have later published numbers, one for each protocol."""
    return [later_table(table) for name in dict.fromkeys(data) for table in LATER.get(name, ())]


def later_table(table: LaterTable) -> Table:
    """One table, with its protocol and the source of each row as notes."""
    columns = tuple(
        Column(known.name, "%" if known.share else "", known.better) for known in map(metric_of, table.metrics)
    )
    rows = tuple(
        Row(system, tuple(Cell(values[metric]) if metric in values else None for metric in table.metrics))
        for system, values in table.rows.items()
    )
    sources = "; ".join(f"{system}: {source}" for system, source in table.sources.items())
    notes = (f"Protocol: {table.protocol}", f"Sources: {sources}.")
    return Table(table.title, columns, (Group("published", "by their authors", rows),), notes)
