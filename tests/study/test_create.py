"""A study is made whole or not at all, and its pictures are alike in all but their pixels."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from studies import SYSTEMS, drawn_systems, make_study, write_captions, write_systems
from xmcgan.cli.main import main
from xmcgan.study.captions import captions_file, choose_captions, read_captions
from xmcgan.study.create import create_study
from xmcgan.study.pictures import noise, picture_file, write_alike
from xmcgan.study.records import ExclusionRules
from xmcgan.study.settings import Settings
from xmcgan.study.storage import open_database, read_answers, read_study, reading, sqlite_url
from xmcgan.study.tables import CAPTION, ITEM, PICTURE


def rows(study, table):
    database = open_database(sqlite_url(study))
    with reading(database) as connection:
        return connection.execute(select(table)).all()


def test_what_is_made(tmp_path):
    study = make_study(tmp_path, captions=5, annotators=3, practice=2, attention_every=1, repeat_every=4, seed=7,
                       exclusion=ExclusionRules(min_attention_correct=0.5))  # fmt: skip
    described, answers = read_answers(sqlite_url(study))
    assert answers == []
    assert (described.systems, described.seed, described.annotators_per_item) == (SYSTEMS, 7, 3)
    assert described.exclusion.min_attention_correct == 0.5
    kinds = [(each.criterion, each.kind) for each in rows(study, ITEM)]
    assert len(rows(study, CAPTION)) == 5 + 2 + 5
    for criterion in ("realism", "alignment"):
        assert [kinds.count((criterion, kind)) for kind in ("main", "practice", "attention")] == [5, 2, 5]
    files = {path.name for path in (study / "pictures").iterdir()}
    assert files == {f"{each.name}.png" for each in rows(study, PICTURE)}
    assert len(files) == 4 * 12
    links = (study / "links.txt").read_text().split()
    assert len(set(links)) == 3
    assert all(link.startswith("http://127.0.0.1:8000/a/") for link in links)


def test_pairs_of_practice_and_checks_are_one_for_each_caption(tmp_path):
    """Main items are all pairs of the four systems; an attention check has the reference or noise in it."""
    study = make_study(tmp_path, captions=2, mode="pairs", practice=3, attention_every=1, criteria=("realism",))
    found = {kind: [each.systems for each in rows(study, ITEM) if each.kind == kind] for kind in
             ("main", "practice", "attention")}  # fmt: skip
    assert len(found["main"]) == 2 * 6
    assert len(found["practice"]) == 3
    assert len(found["attention"]) == 4
    assert all(len(set(pair)) == 2 for pairs in found.values() for pair in pairs)
    assert {name for pair in found["practice"] for name in pair} <= set(SYSTEMS)
    assert all(name in ("reference", "noise-1") for pair in found["attention"] for name in pair)


def test_pictures_keep_their_pixels(tmp_path):
    """The picture that an item shows as a system's is that system's picture of that caption."""
    study = make_study(tmp_path, captions=3, size=16)
    folders, _ = drawn_systems(3 + 60, SYSTEMS)
    captions = {each.id: each.caption_id for each in rows(study, CAPTION)}
    for each in rows(study, PICTURE):
        shown = np.asarray(Image.open(study / "pictures" / f"{each.name}.png"))
        given = np.asarray(Image.open(folders[each.system] / f"{captions[each.caption]}.png"))
        np.testing.assert_array_equal(shown, given)


def test_pictures_of_a_caption_are_alike(tmp_path):
    smooth, rough = Image.new("RGB", (64, 64), "teal"), noise(64, "a seed")
    smooth.info["comment"] = "made by xmc-gan"
    written = write_alike(tmp_path, {"smooth": smooth, "rough": rough})
    paths = {name: picture_file(tmp_path, each.name) for name, each in written.items()}
    assert len({path.stat().st_size for path in paths.values()}) == 1
    for name, given in (("smooth", smooth), ("rough", rough)):
        content = paths[name].read_bytes()
        assert b"xmc-gan" not in content
        opened = Image.open(io.BytesIO(content))
        opened.load()
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(given))
        assert opened.info == {}


@pytest.mark.parametrize("name", ["../study", "a" * 22, "A" * 23, "", "..%2f", "a/b", "\0" * 22])
def test_only_pictures_of_the_folder(tmp_path, name):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "study.png").write_bytes(b"secret")
    assert picture_file(tmp_path / "pictures", name) is None


def test_a_link_out_of_the_folder_is_no_picture(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / f"{'L' * 22}.png").symlink_to(tmp_path / "secret")
    assert picture_file(tmp_path, "L" * 22) is None


def test_a_missing_caption_is_named_and_nothing_stays(tmp_path, capsys):
    systems = write_systems(tmp_path / "systems", 8)
    lost = systems["op-gan"] / "3-0.png"
    lost.unlink()
    arguments = [
        "study",
        "create",
        str(tmp_path / "study"),
        "--captions",
        "5",
        "--practice",
        "2",
        "--attention-every",
        "5",
    ]
    arguments += ["--systems", ",".join(f"{name}={folder}" for name, folder in systems.items())]
    arguments += ["--captions-file", str(tmp_path / "systems" / "captions.jsonl")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert str(systems["op-gan"]) in error
    assert "3-0" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["systems"]
    lost.write_bytes(b"no picture")
    assert main(arguments) == 2
    assert str(lost) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["systems"]


def test_the_command(tmp_path, capsys):
    systems = write_systems(tmp_path / "systems", 9)
    for folder in systems.values():
        captions = [{"id": f"{n}-0", "caption": f"caption {n}", "file": f"{n}-0.png", "seed": 0} for n in range(9)]
        (folder / "requests.jsonl").write_text("\n".join(json.dumps(each) for each in captions))
    arguments = [
        "study",
        "create",
        str(tmp_path / "study"),
        "--size",
        "32",
        "--annotators",
        "2",
        "--attention-every",
        "3",
    ]
    arguments += ["--systems", ",".join(f"{name}={folder}" for name, folder in systems.items())]
    arguments += ["--url", "https://study.example.org/", "--contact", "me@example.org"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.index("with --real DIR, a photograph.") < printed.index("The study study is in")
    assert "https://study.example.org/a/TOKEN" in printed
    assert str(tmp_path / "study" / "admin-token") in printed
    database = open_database(sqlite_url(tmp_path / "study"))
    with reading(database) as connection:
        _, settings = read_study(connection)
    assert settings.contact == "me@example.org"
    assert len({each.caption for each in rows(tmp_path / "study", ITEM) if each.kind == "main"}) == 3  # 9 less 2 and 4
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_photographs_for_the_checks(tmp_path):
    """Named by caption or by image; without one for a check, the caption is named."""
    systems = write_systems(tmp_path / "systems", 12)
    (tmp_path / "real").mkdir()
    fields = {"systems": systems, "captions_file": tmp_path / "systems" / "captions.jsonl", "progress": False}
    with pytest.raises(FileNotFoundError, match=r"has no photograph of caption \d+-0"):
        create_study(tmp_path / "study", real=tmp_path / "real", captions=5, **fields)
    for number in range(12):
        Image.new("RGB", (20, 30), (1, 2, number)).save(tmp_path / "real" / f"{number}.png")
    create_study(tmp_path / "study", real=tmp_path / "real", captions=5, **fields)
    captions = {each.id: each.caption_id for each in rows(tmp_path / "study", CAPTION)}
    references = [each for each in rows(tmp_path / "study", PICTURE) if each.system == "reference"]
    assert references
    for each in references:
        shown = Image.open(tmp_path / "study" / "pictures" / f"{each.name}.png")
        assert shown.size == (256, 256)
        assert shown.getpixel((9, 9)) == (1, 2, int(captions[each.caption].removesuffix("-0")))


def test_captions_are_drawn_by_the_seed_and_used_once(tmp_path):
    write_systems(tmp_path, 30, ("one",))
    captions = read_captions(tmp_path / "captions.jsonl")
    settings = Settings(practice=2, attention_every=4, min_attention_checks=1)
    first, again, other = (choose_captions(captions, 10, settings, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.main != other.main
    assert [len(each) for each in first] == [10, 2, 3]
    assert len({each.id for each in first.all}) == 15
    assert len(choose_captions(captions, None, settings, 0).main) == 22  # 22 + 2 + 6 = 30
    with pytest.raises(ValueError, match=r"captions is 23; it can be 1 to 22: .* take 8 of the 30 captions"):
        choose_captions(captions, 23, settings, 0)


@pytest.mark.parametrize(
    ("captions", "count", "main", "attention"),
    [
        (30, 10, 10, 4),  # one in each twenty would be 1
        (30, None, 24, 4),
        (9, None, 3, 4),
        (9, 5, 5, 2),  # as many as there are captions for
        (7, 4, 4, 1),
        (6, None, 3, 1),  # none is left for four: one
    ],
)
def test_a_block_has_four_checks_where_there_are_captions_for_them(tmp_path, captions, count, main, attention):
    path = write_captions(tmp_path / "captions.jsonl", captions)
    chosen = choose_captions(read_captions(path), count, Settings(), seed=0)
    assert [len(each) for each in chosen] == [main, 2, attention]


def test_too_few_captions_for_a_study(tmp_path):
    captions = read_captions(write_captions(tmp_path / "captions.jsonl", 3))
    with pytest.raises(
        ValueError, match="there are 3 captions; the fewest are 2 for practice, 1 for attention checks and 1"
    ):
        choose_captions(captions, None, Settings(), seed=0)


def test_too_few_checks_are_remarked_before_anything_is_written(tmp_path):
    systems = write_systems(tmp_path / "systems", 9)
    fields = {"systems": systems, "captions_file": tmp_path / "systems" / "captions.jsonl", "progress": False}
    found = []

    def remark(text):
        found.append(text)
        assert [path.name for path in tmp_path.iterdir()] == ["systems"]

    create_study(tmp_path / "study", captions=5, remark=remark, **fields)
    assert found == [
        "Attention checks show a picture of one of the systems beside noise; with --real DIR, a photograph.",
        "There are too few captions for 4 attention checks in a block; there will be 2. Add 2 to the file of captions, "
        "or set --captions to 3.",
        "With 2 attention checks in a block, a single miss excludes an annotator: at least 75 % have to be right. That "
        "takes 4 checks (--min-attention-checks), or --min-attention-correct 0.5.",
    ]
    database = open_database(sqlite_url(tmp_path / "study"))
    with reading(database) as connection:
        assert read_study(connection)[1].min_attention_checks == 2
    found.clear()
    create_study(tmp_path / "other", captions=3, remark=found.append, **fields)
    assert found == [
        "Attention checks show a picture of one of the systems beside noise; with --real DIR, a photograph."
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": {"one": "a"}}, "systems has 1; a study compares 2 to 9"),
        ({"systems": {"reference": "a", "b": "b"}}, "'reference' is empty, reserved"),
        ({"systems": {"a>b": "a", "b": "b"}}, "'a>b' is empty, reserved, or has a space"),
        ({"criteria": ("beauty",)}, "criteria is 'beauty'; it can be realism, alignment"),
        ({"criteria": ("realism", "realism")}, "each once"),
        ({"mode": "best"}, "mode is 'best'; it can be rank, pairs, pairs-ties"),
        ({"annotators": 0}, "annotators is 0; it should be 1 to 1000"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_makes_no_study_is_refused(tmp_path, changes, message):
    fields = {"systems": {"a": tmp_path, "b": tmp_path}, "captions_file": tmp_path / "none"} | changes
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        create_study(tmp_path / "study", **fields)


def test_a_damaged_file_of_captions_names_its_line(tmp_path):
    path = tmp_path / "captions.jsonl"
    for text, message in (
        ('{"id": "1", "caption": "a"}\n{"id": "1", "caption": "b"}', "line 2: the id 1 occurs twice"),
        ('{"id": "1", "caption": "a"}\n{"id": 2}', "line 2 should be"),
        ('{"id": "1", "caption": "  "}', "line 1: id and caption should be text"),
        ("[]", "line 1 should be"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_captions(path)


def test_captions_are_those_of_the_first_system_that_has_them(tmp_path):
    systems = {name: tmp_path / name for name in SYSTEMS}
    for folder in systems.values():
        folder.mkdir()
    with pytest.raises(ValueError, match=r"no folder of --systems has a requests\.jsonl .*; name a file by"):
        captions_file(systems, None)
    for name in SYSTEMS[1:3]:
        (systems[name] / "requests.jsonl").touch()
    assert captions_file(systems, None) == systems[SYSTEMS[1]] / "requests.jsonl"
    assert captions_file(systems, tmp_path / "given.jsonl") == tmp_path / "given.jsonl"


def test_folders_that_lack_what_a_study_needs_are_named(tmp_path):
    systems = write_systems(tmp_path / "systems", 9)
    captions = tmp_path / "systems" / "captions.jsonl"
    fields = {"systems": systems, "captions": 3, "progress": False}
    lost = tmp_path / "lost"
    with pytest.raises(FileNotFoundError, match=f"--real {lost}: there is no such folder"):
        create_study(tmp_path / "study", captions_file=captions, real=lost, **fields)
    with pytest.raises(FileNotFoundError, match=f"--systems op-gan={lost}: there is no such folder"):
        create_study(tmp_path / "study", captions_file=captions, **fields | {"systems": systems | {"op-gan": lost}})
    assert not (tmp_path / "study").exists()
