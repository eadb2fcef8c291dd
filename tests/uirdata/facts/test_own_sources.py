from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uirdata.errors import UsageError
from uirdata.facts.own_sources import local_source, source_to_toml
from uirdata.pairing import Exclude, PairRule, find_pairs
from uirdata.sources import Mirror, RemoteFile, Source, SourceCrop, load_sources, read_source


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., Path]:
    def make(*names: str) -> Path:
        root = tmp_path / "mine"
        root.mkdir(exist_ok=True)
        for name in names:
            (root / name).mkdir(parents=True)
            (root / name / "0.png").touch()
        return root

    return make


def pairs(source: Source, *names: str) -> list[tuple[str, str]]:
    return [(pair.lq, pair.gt) for pair in find_pairs(source, names, lambda _: "").pairs]


def test_a_folder_of_photographs_is_clean_at_any_depth(folders: Callable[..., Path]) -> None:
    root = folders("a/b")
    source = local_source("mine", root)
    assert source.local_dir == root
    assert source.is_clean
    assert source.degradations == ()
    assert pairs(source, "1.PNG", "a/b/2.x.jpg", "notes.txt") == [("", "1.PNG"), ("", "a/b/2.x.jpg")]


@pytest.mark.parametrize(
    ("lq", "gt", "degradation"),
    [
        ("hazy", "clear", "haze"),
        ("Blur", "Sharp", "motion-blur"),
        ("noisy", "clean", "noise"),
        ("low", "high", "low-light"),
    ],
)
def test_usual_names_of_folders_are_recognised(
    folders: Callable[..., Path], lq: str, gt: str, degradation: str
) -> None:
    source = local_source("mine", folders(lq, gt))
    assert source.degradations == (degradation,)
    assert pairs(source, f"{lq}/a/1.jpg", f"{gt}/a/1.png", f"{lq}/2.jpg") == [(f"{lq}/a/1.jpg", f"{gt}/a/1.png")]


def test_folder_names_without_a_degradation_require_the_option(folders: Callable[..., Path]) -> None:
    root = folders("input", "target")
    with pytest.raises(UsageError, match="the degradation of input is missing"):
        local_source("mine", root)
    assert local_source("mine", root, degradation="snow").degradations == ("snow",)


def test_folders_are_named_by_the_user(folders: Callable[..., Path]) -> None:
    root = folders("x/bad", "x/good")
    source = local_source("mine", root, lq="x/bad", gt="x/good", degradation="rain-streak", real=False)
    assert pairs(source, "x/bad/a.b.png", "x/good/a.b.tif", "x/bad/c.png") == [("x/bad/a.b.png", "x/good/a.b.tif")]
    assert source.pairs[0].real is False
    assert (
        local_source("mine", root, lq=str(root / "x/bad"), gt="x/good", degradation="haze")
        .pairs[0]
        .lq.startswith("x/bad/")
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "Bad Name"}, "lower-case letters"),
        ({"lq": "hazy"}, "given together"),
        ({"lq": "hazy", "gt": "nowhere", "degradation": "haze"}, "is not a folder"),
        ({"lq": "hazy", "gt": "hazy", "degradation": "haze"}, "must differ"),
        ({"lq": "hazy", "gt": "..", "degradation": "haze"}, "is not below"),
        ({"lq": "hazy", "gt": ".", "degradation": "haze"}, "is not below"),
        ({"lq": "hazy", "gt": "{odd}", "degradation": "haze"}, "rename it"),
        ({"degradation": "hase"}, "did you mean 'haze'?"),
        ({"test_share": 1.0}, "test share is 1.0"),
    ],
)
def test_what_cannot_be_a_source_is_refused(
    folders: Callable[..., Path], arguments: dict[str, object], words: str
) -> None:
    root = folders("hazy", "clear", "{odd}")
    with pytest.raises(UsageError) as caught:
        local_source(**{"name": "mine", "folder": root, **arguments})  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_degradation_without_folders_is_refused(folders: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pair of folders"):
        local_source("mine", folders("photos"), degradation="haze")
    with pytest.raises(UsageError, match="is not a folder"):
        local_source("mine", tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_manifest_that_was_written_is_read_back_equal(folders: Callable[..., Path], share: float) -> None:
    root = folders("hazy", "clear")
    source = local_source("mine", root, test_share=share, title='a "quoted" title', licence="CC0")
    (root.parent / "mine.toml").write_text(source_to_toml(source))
    assert load_sources([root.parent])["mine"] == source


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(title=text, note=text, defects=st.lists(text, max_size=3), size=st.none() | st.integers(0, 2**50))
def test_every_text_survives_the_manifest(
    tmp_path_factory: pytest.TempPathFactory, title: str, note: str, defects: list[str], size: int | None
) -> None:
    source = Source(
        id="all",
        title=title,
        licence="l",
        files=(RemoteFile("a b.zip", (Mirror("http", "u", "repack", note=note),), size=size, archive="zip"),),
        pairs=(PairRule("val", "haze", True, "{a}.png", r"{a:\d+}_{b}.png", exclude=(Exclude("x*", note),)),),
        known_defects=tuple(defects),
        crop=SourceCrop(512, 204, 0.3),
    )
    path = tmp_path_factory.mktemp("manifests") / "all.toml"
    path.write_text(source_to_toml(source), encoding="utf-8", newline="")
    assert read_source(path) == source


@pytest.mark.parametrize("source", load_sources().values(), ids=list(load_sources()))
def test_every_published_source_can_be_written_and_read(tmp_path: Path, source: Source) -> None:
    path = tmp_path / f"{source.id}.toml"
    path.write_text(source_to_toml(source), encoding="utf-8")
    assert read_source(path) == source
