"""Which photographs, by which words, in whose share; and what a result says of itself."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from colorjax.colorize.command import checks, flags, likeness, run
from colorjax.colorize.command.report import Report
from colorjax.colorize.command.selection import Prompts, Shard, beside, listed
from colorjax.colorize.command.tasks import Task, due_of, requests_of
from colorjax.colorize.files import saving, statement
from colorjax.devices import processes
from colorjax.errors import UserError
from colorjax.methods import registry


def test_shares_are_all_of_the_photographs_once() -> None:
    names = [Path(f"box {i % 7}/{i}.jpg") for i in range(1000)]
    shards = [Shard.parse(f"{i}/3") for i in (1, 2, 3)]
    owners = [[shard.number for shard in shards if shard.has(name)] for name in names]
    assert all(len(owner) == 1 for owner in owners)
    sizes = [sum(owner == [i] for owner in owners) for i in (1, 2, 3)]
    assert min(sizes) > 280, "of about one size"
    assert all(Shard.parse(None).has(name) for name in names)
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(UserError, match="shard is"):
            Shard.parse(wrong)


def test_a_list_of_photographs(tmp_path, monkeypatch) -> None:
    (tmp_path / "list").write_text("\ufeffa.jpg\n\n  box/b c.png\n")
    assert listed(str(tmp_path / "list")) == [Path("a.jpg"), Path("  box/b c.png")]
    (tmp_path / "empty").write_text("\n")
    for name, words in (("empty", "names no"), ("none", "cannot be read")):
        with pytest.raises(UserError, match=words):
            listed(str(tmp_path / name))


def test_prompts_of_a_table_or_beside(tmp_path) -> None:
    (tmp_path / "a.csv").write_text('file,prompt\nbox/a.jpg,"a red car, #0000ff sky"\nb.jpg,cat\n')
    rows = [{"file": "box/a.jpg", "prompt": "a red car"}, {"file": "z.jpg", "prompt": "none"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = Prompts(str(tmp_path / "a.csv"), "usual")
    assert table.of(tmp_path / "box/a.jpg", Path("box/a.jpg")) == "a red car, blue sky"
    assert table.of(Path("deep/b.jpg"), Path("deep/b.jpg")) == "cat"
    assert table.of(Path("c.jpg"), Path("c.jpg")) == "usual" and not table.unused
    lines = Prompts(str(tmp_path / "a.jsonl"), "usual")
    assert lines.of(Path("box/a.jpg"), Path("box/a.jpg")) == "a red car"
    assert lines.unused == ["z.jpg"]
    (tmp_path / "d.txt").write_text("a brown\ndog\n")
    beside = Prompts("beside", "usual")
    assert beside.of(tmp_path / "d.jpg", Path("d.jpg")) == "a brown dog"
    assert beside.of(tmp_path / "e.jpg", Path("e.jpg")) == "usual"
    (tmp_path / "bad.csv").write_text("name,text\na.jpg,cat\n")
    with pytest.raises(UserError, match="row 1 lacks file or prompt"):
        Prompts(str(tmp_path / "bad.csv"), "usual")


def test_a_file_for_all_or_one_for_each(tmp_path) -> None:
    (tmp_path / "a.json").touch()
    suffixes = (".png", ".json")
    assert beside(None, Path("a.jpg"), suffixes) is None
    assert beside("one.png", Path("a.jpg"), suffixes) == Path("one.png")
    assert beside(str(tmp_path), Path("deep/a.jpg"), suffixes) == tmp_path / "a.json"
    assert beside(str(tmp_path), Path("b.jpg"), suffixes) is None
    with pytest.raises(UserError, match="has no b.png for 'b.jpg'"):
        beside(str(tmp_path), Path("b.jpg"), suffixes, must=True)


@pytest.mark.parametrize(
    ("table", "encoding"),
    [
        ("file,prompt\ncafe\u0301/a.jpg,red\n", "utf-8"),  # as macOS tells accents
        ("File;Prompt\r\ncaf\u00e9/a.jpg;red\r\n", "utf-8-sig"),
        ("prompt\tfile\nred\tcaf\u00e9\\a.jpg\n", "utf-16"),
        ('"file","prompt"\r"./caf\u00e9/a.jpg","red"\r', "utf-8"),
    ],
)
def test_tables_as_spreadsheets_and_other_systems_write_them(tmp_path, table, encoding) -> None:
    (tmp_path / "a.csv").write_bytes(table.encode(encoding))
    texts = Prompts(str(tmp_path / "a.csv"), "usual")
    for name in ("caf\u00e9/a.jpg", "cafe\u0301/a.jpg"):
        assert texts.of(tmp_path / name, Path(name)) == "red"
    assert not texts.unused and texts.of(Path("b.jpg"), Path("b.jpg")) == "usual"
    (tmp_path / "b.csv").write_bytes("file,prompt\na.jpg,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(UserError, match="b.csv' are not in UTF-8"):
        Prompts(str(tmp_path / "b.csv"), "usual")


def test_the_words_of_a_frame_hold_until_others_are_said(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("file,prompt\n1.png,a cat\n3.png,a dog\n")
    texts = Prompts(str(tmp_path / "a.csv"), "usual", hold=True)
    said = [texts.of(Path(f"{i}.png"), Path(f"{i}.png")) for i in range(5)]
    assert said == ["usual", "a cat", "a cat", "a dog", "a dog"]


def test_what_a_list_names_and_is_not_there_is_told_and_the_rest_done(tmp_path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "list").write_text(f"{tmp_path}/none.png\n{tmp_path}/a.png\n")
    report = Report()
    args = flags.parse(["--list", str(tmp_path / "list"), "--output", str(tmp_path / "out")])
    (request,) = requests_of(args, "", report)
    assert request.source == tmp_path / "a.png"
    ((name, said),) = report.failed
    assert name == f"{tmp_path}/none.png" and "does not exist" in said
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="nothing exists, such as"):
        requests_of(args, "", report)


PACKET = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"><rdf:Description
 rdf:about=""
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/>
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("xmp", [b"", PACKET])
def test_a_packet_says_once_what_made_the_picture(xmp) -> None:
    note = {"prompt": 'a <red> "car" & Großvater', "seed": 3}
    first = statement.with_note(xmp, {"seed": 2})
    packet = statement.with_note(first, note)
    assert packet.count(b"DigitalSourceType=") == 1 and packet.count(b"colorjax:settings") == 1
    assert b"compositeWithTrainedAlgorithmicMedia" in packet
    assert json.loads(statement.note_in(packet)) == note
    if not xmp:
        from xml.etree import ElementTree

        ElementTree.fromstring(packet.decode())
    assert b"colorjax" not in statement.without_note(packet)
    foreign = "<x:xmpmeta>".encode("utf-16")
    assert statement.with_note(foreign, note) == foreign


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_every_format_says_what_made_it(tmp_path, suffix) -> None:
    gray = np.full((16, 16, 3), 99, np.uint8)
    path = tmp_path / f"a{suffix}"
    saving.save_photo(path, gray, note={"seed": 3, "prompt": "a red car"})
    assert saving.note_of(path) == {"seed": 3, "prompt": "a red car"}
    with Image.open(path) as picture:
        assert b"compositeWithTrainedAlgorithmicMedia" in picture.info["xmp"]
    saving.save_photo(path, gray)
    assert saving.note_of(path) is None
    with pytest.raises(UserError, match="does not say how it was made"):
        likeness.note_in(path)
    with pytest.raises(UserError, match="is a folder"):
        likeness.note_in(tmp_path)


def test_metadata_without_a_place_is_told(tmp_path) -> None:
    from colorjax.colorize.files.metadata import Metadata

    gray = np.full((16, 16, 3), 99, np.uint8)
    long = Metadata(comments=(b"x" * 70_000, b"short"))
    assert saving.save_photo(tmp_path / "a.jpg", gray, long) == ("a comment of 70,000 bytes",)
    assert saving.save_photo(tmp_path / "a.png", gray, long) == ()
    assert saving.save_photo(tmp_path / "a.webp", gray, long) == ("a comment", "a comment")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "give photographs"),
        ("a.jpg --list b", "give photographs"),
        ("a.jpg --quality 0", "quality is 0"),
        ("a.jpg --pages 0", "pages is '0'"),
        (f"a.jpg --pages {'9' * 5000}", "give all, or a number from 1 on"),
        ("a.jpg --variations 99", "variations is 99"),
        ("a.jpg --doubt 1", "doubt is 1"),
        ("a.jpg --grid", "give --variations"),
        ("a.jpg --grid --compare --variations 2", "exclude each other"),
        ("a.jpg --levels --prompt red --tint 3,4", "--levels and --tint"),
        ("a.jpg --masks m --prompt car --prompts p", "--masks and --prompts"),
        ("a.jpg --hints none.png", "--hints 'none.png' does not exist"),
        ("a.jpg --only_masked none", "--only_masked 'none' does not exist"),
        ("a.jpg --output -", "output is '-'"),
        ("a.jpg --output=", "output is ''"),
        ("a.jpg --tint -99,0", "tint warm is -99"),
        ("a.jpg --format jpg --output b.png", "--format jpg is not that of 'b.png'"),
        ("a.tif --frames --pages all", "leave --pages all out"),
    ],
)
def test_what_does_not_go_together_is_told_first(words, said) -> None:
    args = flags.parse(words.split())
    with pytest.raises(UserError, match=said):
        checks.make_painter(args, checks.check(args))


def test_a_table_of_prompts_that_is_deep_is_told(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"file": ' + "[" * 100_000 + "\n")
    with pytest.raises(UserError, match="a.jsonl' cannot be read"):
        Prompts(str(tmp_path / "a.jsonl"), "usual")


def test_a_like_picture_has_the_settings_of_the_result(tmp_path) -> None:
    note = {"method": "lcad", "seed": 7, "prompt": "a red car", "guidance_scale": 2.5}
    note |= {"num_steps": 4, "tint": "8,-3", "model_name": "bundled", "refine_step_size": 10.0}
    saving.save_photo(tmp_path / "a.png", np.full((9, 9, 3), 99, np.uint8), note=note)
    args = flags.parse(["b.jpg", "--like", str(tmp_path / "a.png")])
    likeness.adopt(args)
    assert (args.seed, args.prompt, args.num_steps, args.tint) == (7, "a red car", 4, "8,-3")
    prompt = checks.check(args)
    assert checks.make_painter(args, prompt).about == {"tint": "8,-3"}
    changed = SimpleNamespace(**{**note, "masks": "x", "seed": 8, "model": "other"})
    (tmp_path / "b.jpg").write_bytes(b"photograph")
    said = list(likeness.remarks(vars(changed), note, tmp_path / "b.jpg"))
    assert any("--masks, which is not given" in line for line in said)
    assert any(line.startswith("seed is 7") for line in said)
    assert any("weights are others" in line for line in said)
    assert said[-1] == "the photograph is another one than the result's"
    (line, *_) = likeness.remarks(note, note | {"hints": "5f2c"}, tmp_path / "b.jpg")
    assert line == "the result was made without --hints"
    (line, *_) = likeness.remarks(note | {"hints": "a"}, note | {"hints": "b"}, tmp_path / "b.jpg")
    assert line == "--hints is another than the result's"


def test_a_frame_that_cannot_be_read_is_told_once(tmp_path) -> None:
    for name in ("1.png", "3.png"):
        Image.new("L", (9, 9), 99).save(tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"no picture")
    report = Report()
    args = flags.parse([str(tmp_path), "--frames", "--output", str(tmp_path / "out")])
    task = Task(args, "", checks.make_painter(args, checks.check(args)), {})
    due = due_of(task, requests_of(args, "", report), report)
    assert [Path(str(request.source)).name for request in due] == ["1.png", "3.png"]
    assert [Path(name).name for name, _ in report.failed] == ["2.png"]


def test_a_cold_tint_needs_no_equals_sign() -> None:
    for words in (["--tint", "-20,0"], ["--tint=-20,0"], ["--tint", "-.5,-3"]):
        args = flags.parse(["a.jpg", *words, "--seed", "3"])
        assert args.tint == words[-1].removeprefix("--tint=") and args.seed == 3
    with pytest.raises(SystemExit):
        flags.parse(["a.jpg", "--tint", "--grid"])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"seed": None}, "seed: None is not of type 'integer'"),
        ({"seed": "x"}, "seed: 'x' is not of type 'integer'"),
        ({"batch": "5"}, "batch: '5'"),
        ({"batch": 10**30}, "batch: 10000"),
        ({"prompt": ["red"]}, "prompt: "),
        ({"page": [1]}, "page: "),
        ({"quality": "a"}, "quality: 'a'"),
        ({"grid": 10**9}, "grid: "),
        ({"num_steps": 10**400}, "num_steps is 1000"),
        ({"guidance_scale": [1]}, "guidance_scale is"),
        ({"lora": 3}, "lora is 3"),
        ({"method": "another"}, "method is 'another'"),
        ({"model_name": ["a"]}, "model_name: "),
        ({"model_name": "hub:any/one"}, "add --model=hub:any/one"),
        ({"model_name": "here; rm x.cjx"}, "add --model='here; rm x.cjx'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_a_picture_says_is_not_trusted(tmp_path, said, message) -> None:
    """With the settings of somebody's result: what they can be, and a model that is there."""
    note = {"method": "lcad", "seed": 7, "prompt": "a red car"} | said
    saving.save_photo(tmp_path / "a.png", np.full((9, 9, 3), 99, np.uint8), note=note)
    with pytest.raises(UserError, match=message):
        likeness.adopt(flags.parse(["b.jpg", "--like", str(tmp_path / "a.png")]))


def test_help_is_a_screen_and_a_half_with_every_default() -> None:
    parser = flags.make_parser()
    lines = parser.format_help().splitlines()
    assert len(lines) <= 83, "a screen and a half of 55 lines"
    assert max(map(len, lines)) <= 100
    assert sum(line.endswith(":") and not line.startswith(" ") for line in lines) >= 7
    for action in parser._actions:
        said = action.help or ""
        for choice in action.choices or ():
            assert str(choice) in said
        if action.default not in (None, False, argparse.SUPPRESS) and action.nargs != 0:
            brackets = {"--doubt": "(N: 8)", "--tint": "(0,0)"}
            assert brackets.get(action.option_strings[0], f"({action.default}") in said.replace(
                "%(default)s", str(action.default)
            ), action.option_strings
    for row, _ in registry.settings().values():
        (action,) = (a for a in parser._actions if f"--{row.name}" in a.option_strings)
        assert f"({row.default or 'none'})" in (action.help or "")


def test_processes_divide_a_share() -> None:
    names = [Path(f"{i}.png") for i in range(300)]
    for share in (Shard(), Shard(2, 3)):
        parts = [share.divided(i, 4) for i in range(4)]
        assert share.divided(0, 1) == share
        for name in names:
            assert sum(part.has(name) for part in parts) == share.has(name)
        assert all(any(part.has(name) for name in names) for part in parts)


def test_a_film_is_of_one_process(monkeypatch) -> None:
    monkeypatch.setattr(processes, "join", lambda **_: None)
    monkeypatch.setattr(processes, "share", lambda: (1, 2))
    run._join(argparse.Namespace(frames=False))
    with pytest.raises(UserError, match="--frames is one film"):
        run._join(argparse.Namespace(frames=True))
