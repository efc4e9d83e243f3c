"""``xmcgan ablate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from xmcgan.ablation.studies import STUDIES, Study, study_from_file
from xmcgan.cli.parser import FieldsOf, OneOf
from xmcgan.cli.train import describe, write_missing_scenes
from xmcgan.config import Config, flatten, from_dict, suggestion, to_dict, unflatten
from xmcgan.recipes import RECIPES
from xmcgan.runtime.files import read_json


@dataclass(frozen=True)
class Measurement:
    """How each run is evaluated.

    Args:
        metrics: names separated by commas, as for evaluate.
        count: number of generated images in each evaluation.
        points: number of evaluations of each run, evenly spaced; the last is the result.
        pairs: number of captions for the diversity, which compares two images of each; 0 leaves it out.
    """

    metrics: str = "fid,r-precision,contrastive-accuracy,soa-c"
    count: int = 1000
    points: int = 4
    pairs: int = 64


def ablate(
    recipe: Annotated[str, OneOf(RECIPES, "recipe", about=describe)],
    *,
    study: str,
    output: Path,
    seeds: int = 3,
    images: int | None = None,
    minutes: float | None = None,
    rows: list[str] | None = None,
    devices: list[str] | None = None,
    retry: bool = False,
    reuse: list[str] | None = None,
    measurement: Measurement,
    settings: Annotated[dict[str, Any], FieldsOf(RECIPES)],
) -> int:
    """Train variants of a recipe with several seeds at equal cost, and report which is better.

    Runs one after another, or one on each device. Repeat the command to resume; finished runs are skipped. Several
    processes can share one folder. A run that fails is reported as such. The report is written at the end, and by
    ``xmcgan report`` at any time. Every field of the configuration is an option and holds for all variants.

    Args:
        recipe: the recipe whose variants are trained.
        study: table-4, table-5, table-6 or figure-5 (of the paper), trace, techniques, or a JSON file of your own:
            {"rows": [{"name": "no words", "changes": {"losses.word": 0}}, ...]}.
        output: folder of the ablation.
        seeds: number of runs of each variant, with seeds 0, 1, ...
        images: budget of each run, as the number of real images that the discriminator sees.
        minutes: or as minutes of training; each variant is timed first to fix its number of steps.
        rows: names of the variants to run for now; all unless given.
        devices: one process on each, such as cuda:0,cuda:1; one on the default device unless given.
        retry: run failed runs again.
        reuse: folders of other ablations, separated by commas; results of identical runs there are reused.
        measurement: metrics, count, points and pairs.
        settings: fields that differ from the recipe's, by dotted name.

    Examples:
        xmcgan ablate scenes-64 --study table-4 --output ablations/table-4 --images 20000
        xmcgan ablate coco14-256 --study figure-5 --data /path/to/coco --output ablations/figure-5 --minutes 600
        xmcgan ablate scenes-64 --study my-rows.json --output ablations/mine --images 20000 --devices cuda:0,cuda:1
    """
    from xmcgan.ablation.plan import Budget, Plan, read_plan, rows_named, write_plan
    from xmcgan.ablation.work import held_out_records, training_records

    own = {"evaluation.metrics": measurement.metrics, "evaluation.count": measurement.count}
    base = from_dict(unflatten(flatten(to_dict(RECIPES[recipe])) | own | settings))
    chosen = study_named(study, base)
    rows_named(chosen, rows or [])  # refuses unknown names
    others = [Path(folder) for folder in reuse or []]
    for folder in others:
        read_plan(folder)  # refuses a folder that is not an ablation before anything is trained
    plan = Plan(output, chosen, recipe, Budget(images, minutes), seeds, measurement.points, measurement.pairs)
    write_missing_scenes(recipe, base)
    for read in (training_records, held_out_records):
        read(base)  # bad data is an error before the folder is made
    write_plan(plan)
    return run_and_report(output, devices or [base.training.device], rows or [], retry, others)


def study_named(name: str, base: Config) -> Study:
    """A study that comes with the package, or a custom one from a file."""
    if name in STUDIES:
        return STUDIES[name](base)
    if Path(name).is_file():
        return study_from_file(name, read_json(Path(name)), base)
    raise ValueError(f"unknown study {name!r}, and no file has that name{suggestion(name, STUDIES)}")


def run_and_report(output: Path, devices: list[str], rows: list[str], retry: bool, reuse: list[Path]) -> int:
    """Executes the remaining runs, and writes the report unless a signal stopped them."""
    from xmcgan.ablation.work import work_on

    status = work_on(output, devices, rows, retry, reuse)
    if status == 0:
        from xmcgan.ablation.report import write_report

        print(f"the report is {write_report(output)}")
    return status
