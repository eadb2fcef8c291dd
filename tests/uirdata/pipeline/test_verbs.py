"""The commands as functions: the same work and the same bytes as with the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from uir_cli.uir import program

import uirdata
from tests.conftest import synthetic_image, write_png
from tests.uirdata.pipeline.publishing.published import MANIFEST, REPO, online_hub
from uirdata.errors import PublishError, ShardError, SourceError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SUBSET = """
[[subset]]
name = "small"
title = "noise and haze of mine"
classes = [["noise"], ["haze"]]
[[subset.use]]
sources = ["mine"]
degradations = ["noise", "haze"]
splits = ["train"]
levels = []
size = 64
stride = 64
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with two photographs of the user's own; half of one is flat."""
    for number in range(2):
        image = synthetic_image(64, 128, number)
        image[:, 64:] = 200 if number else image[:, 64:]
        write_png(tmp_path / f"photos/p{number}.png", image)
    report = uirdata.fetch("mine", from_dir=tmp_path / "photos", root=tmp_path / "root")
    assert report.is_complete
    (tmp_path / "root/manifests/subsets.toml").write_text(SUBSET)
    return tmp_path / "root"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("screen", [False, True])
def test_the_function_and_the_command_build_the_same_files(root: Path, tmp_path: Path, screen: bool) -> None:
    options = ["--screen"] if screen else []
    command = ["build-shards", "--subset", "small", "--out", str(tmp_path / "a"), "--root", str(root), *options]
    done = CliRunner().invoke(program, [*command, "--workers", "1", "--seed", "3"])
    assert done.exit_code == 0, done.output
    planned = list(uirdata.plan(subset="small", root=root, seed=3, screen=screen).samples())
    result = uirdata.build(subset="small", root=root, out=tmp_path / "b", seed=3, screen=screen)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert result.samples == len(planned) == (4 if screen else 8)
    assert (result.place, result.subset, result.complete, result.left) == (str(tmp_path / "b"), "small", True, ())
    again = uirdata.build(subset="small", root=root, out=tmp_path / "b", seed=3, screen=screen)
    assert (again.samples, again.samples_there) == (0, result.samples)


def test_a_plan_writes_nothing(root: Path) -> None:
    before = files(root)
    assert len(list(uirdata.plan(subset="small", root=root, screen=True, size=32).samples())) > 8
    assert files(root) == before


def test_a_subset_is_its_name_or_itself_and_ids_are_one_or_several(root: Path) -> None:
    subset = uirdata.Subset(
        "half", "", (("noise",),), {}, (uirdata.load_subset("small", extra=[root / "manifests"]).uses[0],)
    )
    assert {s.degradation for s in uirdata.plan(subset=subset, root=root).samples()} == {"noise"}
    one, several = (uirdata.plan(ids, root=root) for ids in ("mine", ["mine"]))
    assert one.sources == several.sources == ("mine",)
    with pytest.raises(UsageError, match=r"'mien'.*did you mean 'mine'"):
        uirdata.plan("mien", root=root)
    with pytest.raises(UsageError, match="source gopro is not in subset small, which has: mine"):
        uirdata.plan("gopro", subset="small", root=root)
    with pytest.raises(UsageError, match="no variant 'claen': did you mean 'clean'"):
        uirdata.plan("mine", root=root, variant="claen")  # type: ignore[arg-type]
    for wrong in ({"codec": "jpg"}, {"engine": "rya"}):
        with pytest.raises(UsageError, match=f"there is no {next(iter(wrong))} "):
            uirdata.build("mine", root=root, **wrong)  # type: ignore[arg-type]
    assert not (root / "shards").exists()


def test_without_names_it_is_all_that_has_been_fetched(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [source.id for source in uirdata.verify(root=root).sources] == ["mine"]
    monkeypatch.setenv("UIR_ROOT", str(root))
    assert uirdata.plan().sources == ("mine",)
    for verb in (uirdata.verify, uirdata.plan, uirdata.build):
        with pytest.raises(SourceError, match="nothing has been fetched into"):
            verb(root=tmp_path / "empty")
    with pytest.raises(UsageError, match="nothing to fetch: give IDs"):
        uirdata.fetch(root=root)


def test_what_describes_a_folder_of_ones_own_is_refused_for_others(root: Path) -> None:
    with pytest.raises(UsageError, match="describe your own folder"):
        uirdata.fetch("sample", own=uirdata.OwnFolder(test_share=0.5), root=root)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 0}, "size is 0; expected a whole number at least 1"),
        ({"stride": 2.5}, "stride is 2.5; expected a whole number"),
        ({"seed": 2**32}, "seed is 4294967296; expected a whole number from 0 to 4294967295"),
        ({"shard_bytes": 0}, "shard_bytes is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": True}, "workers is True"),
        ({"task": (3, 2)}, "task is 3; expected a whole number from 1 to 2"),
        ({"task": (1, 2, 3)}, r"expected \(I, N\)"),
        ({"subset": 5}, "a subset is its name or a Subset, not 5"),
    ],
)
def test_what_the_commands_refuse_the_functions_refuse(
    root: Path, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        uirdata.build(**{"subset": "small", "out": tmp_path / "pool", "root": root, **given})
    assert not (tmp_path / "pool").exists()


def test_shards_are_pushed_and_compared(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = uirdata.build(subset="small", root=root)
    with pytest.raises(PublishError, match="mine"):
        uirdata.push(REPO, root=root, token="hf_x")
    manifest = root / "manifests/mine.toml"
    manifest.write_text(MANIFEST.format(free="true"))
    with online_hub(monkeypatch, tmp_path / "cache"):
        pushed = uirdata.push(REPO, root=root, verify=True)
        assert pushed.link.endswith(REPO)
        assert (pushed.wrong, pushed.deleted) == ((), 0)
        assert pushed.sent > result.shards
        again = uirdata.push("hf://datasets/" + REPO, result.place, root=root)
        assert (again.sent, again.commit, again.wrong) == (0, pushed.commit, None)
        assert len(uirdata.open_shards(f"hf://datasets/{REPO}")) == result.samples
    with pytest.raises(ShardError, match="nowhere"):
        uirdata.push(REPO, tmp_path / "nowhere", root=root)
