"""``xmcgan study create``."""

from pathlib import Path

from xmcgan.study.records import CRITERIA, ExclusionRules, Mode, Study
from xmcgan.study.settings import Settings


def create(
    study: Path,
    *,
    systems: list[str],
    captions: int | None = None,
    captions_file: Path | None = None,
    criteria: list[str] | None = None,
    mode: Mode = "rank",
    annotators: int = 5,
    links: int | None = None,
    real: Path | None = None,
    name: str | None = None,
    seed: int = 0,
    database: str | None = None,
    url: str = "http://127.0.0.1:8000",
    exclusion: ExclusionRules,
    settings: Settings,
) -> int:
    """Make a study: people rank pictures without knowing which system drew which.

    Pictures are matched by caption id, as `xmcgan evaluate --images` does. The study never changes afterwards.

    Args:
        study: folder to make.
        systems: 2 to 9 folders of pictures, each with its system's name: NAME=DIR NAME=DIR, or with commas.
        captions: how many captions are rated; by default all except those used for practice and attention checks.
        captions_file: a file as `xmcgan evaluate --write-captions` writes it; by default a system's requests.jsonl.
        criteria: realism, alignment, or both, each in a block of its own.
        mode: rank all systems, or compare pairs, with or without ties.
        annotators: number of different annotators for each item.
        links: personal links to make at once; by default --annotators.
        real: photographs for attention checks, named by caption or image id; by default a system's pictures.
        name: name shown to annotators; by default the folder's.
        seed: seed for the choice of captions and for all orders.
        database: URL, such as postgresql://user@host/name; by default SQLite in the folder.
        url: address at which annotators reach the server, for their links.
        exclusion: which annotators the results leave out.
        settings: what annotators are shown.

    Examples:
        xmcgan study create studies/coco --captions 1000 --systems xmc-gan=a/images op-gan=b/images
    """
    try:
        from xmcgan.study.captions import captions_file as find_captions
        from xmcgan.study.create import create_study
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("sqlalchemy", "alembic"):
            raise
        raise ValueError(f"{error.name} is not installed; studies need pip install 'xmcgan[study]'") from None

    made = create_study(
        study, systems=folders_of(systems), captions_file=find_captions(folders_of(systems), captions_file),
        criteria=criteria or CRITERIA, mode=mode, annotators=annotators, links=links, real=real, name=name, seed=seed,
        exclusion=exclusion, settings=settings, database_url=database, url=url, captions=captions,
        remark=lambda text: print(f"{text}\n", flush=True),
    )  # fmt: skip
    print(f"The study {made.name} is in {study}. It needs at least {fewest(made)} annotators.\n")
    print(places(study, url, bool(database)))
    return 0


def folders_of(systems: list[str]) -> dict[str, Path]:
    """The folder of each system, from NAME=DIR."""
    folders: dict[str, Path] = {}
    for each in systems:
        system, equals, folder = each.partition("=")
        if not equals or not folder:
            raise ValueError(f"--systems has {each!r}; it should be NAME=DIR")
        if system in folders:
            raise ValueError(f"--systems names {system} twice")
        folders[system] = Path(folder)
    return folders


def fewest(study: Study) -> int:
    """How many annotators a study needs, since each sees a caption only once within a criterion."""
    count = len(study.systems)
    return study.annotators_per_item * (1 if study.mode == "rank" else count * (count - 1) // 2)


def places(study: Path, url: str, elsewhere: bool) -> str:
    """Where annotators and the administrator go."""
    from xmcgan.study.create import ADMIN_TOKEN, LINKS

    at = url.rstrip("/")
    return (
        f"Annotators:     {at}/a/TOKEN; the links are in {study / LINKS}\n"
        f"Administrator:  {at}/admin; the token is in {study / ADMIN_TOKEN}\n"
        f"Start it:       xmcgan study serve {study}{' --database URL' if elsewhere else ''}"
    )
