from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.hub import READER, WRITER, Hub, Trouble
from tests.uirdata.pipeline.publishing.published import REPO, described, manifests, online_hub, publish
from tests.uirdata.storage.test_shards import sample
from uirdata.errors import PublishError, ShardError
from uirdata.hosts.repository import WAITS_S, MovedOn, Repository
from uirdata.pipeline.publishing.card_metadata import licence_identifiers
from uirdata.pipeline.publishing.outgoing import Tables, pages
from uirdata.pipeline.publishing.publication import check_licences, describe
from uirdata.pipeline.publishing.push import as_json, plan_push, push, verify_push
from uirdata.storage.shards import list_shards, write_shard
from uirdata.subsets import Subset
from uirdata.transfer import Interrupted

# huggingface_hub's own call of its HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def pool(built: Path, tmp_path: Path) -> Path:
    """Return a pool that the test may change."""
    return Path(shutil.copytree(built, tmp_path / "pool"))


def uploads(server: Hub) -> Counter[str]:
    return Counter(path for kind, path in server.log if kind == "upload")


def test_a_pool_arrives_whole_in_one_commit_and_the_second_push_sends_nothing(
    server: Hub, pool: Path, tmp_path: Path
) -> None:
    report = publish(pool, tmp_path)
    there = {path: blob.data for path, blob in server.tree(REPO).items()}
    for state in list_shards(pool):
        assert there[state.path] == (pool / state.path).read_bytes()
    assert there["info.json"] == (pool / "info.json").read_bytes()
    assert {"README.md", "croissant.json", "eval.yaml", "rejected.parquet"} <= set(there)
    assert len([path for path in there if path.startswith("manifest.parquet/")]) == len(list_shards(pool))
    assert server.repos[REPO].messages == ["initial commit", "81 samples, universal-image-restoration 0.1.0"]
    assert report.sent == len(there) - 1  # .gitattributes is the Hub's
    assert (server.count("commit"), server.count("preupload")) == (1, 1)
    before = len(server.log)
    again = publish(pool, tmp_path)
    assert (again.sent, again.commit) == (0, report.commit)
    assert not {kind for kind, _ in server.log[before:]} & {"upload", "commit", "create", "preupload"}
    assert verify_push(described(pool, tmp_path), Repository(REPO)) == []


def test_killed_in_the_middle_nothing_shows_and_the_next_push_sends_what_is_left(
    server: Hub, pool: Path, tmp_path: Path
) -> None:
    manifests(tmp_path / "manifests")
    command = "import sys; from uir_cli.uir import main; main()"
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "UIR_ROOT": str(tmp_path)}
    server.upload_takes_s = 0.2
    process = subprocess.Popen(
        [sys.executable, "-c", command, "push-hf", str(pool), REPO], env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while server.count("upload") < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(server.tree(REPO)) == [".gitattributes"]
    arrived = len(server.store)
    server.upload_takes_s = 0.0
    time.sleep(0.3)
    publish(pool, tmp_path)
    assert 3 <= arrived < len(server.store)
    # Files in transfer when it was killed may be uploaded twice.
    assert sum(uploads(server).values()) <= len(server.store) + 5
    assert verify_push(described(pool, tmp_path), Repository(REPO)) == []
    assert len(server.repos[REPO].messages) == 2


def test_a_flaky_server_ends_well(server: Hub, pool: Path, tmp_path: Path) -> None:
    server.troubles = [
        Trouble("info", status=503),
        Trouble("tree", drop=True, times=2),
        Trouble("create", status=502),
        Trouble("preupload", status=429, retry_after="3"),
        Trouble("batch", drop=True),
        Trouble("upload", status=500, times=3),
        Trouble("upload", drop=True, times=8),
        Trouble("lfs_verify", status=503),
        Trouble("commit", status=503, times=2),
    ]
    publish(pool, tmp_path)
    assert not any(trouble.times for trouble in server.troubles), server.troubles
    assert verify_push(described(pool, tmp_path), Repository(REPO)) == []
    assert len(server.repos[REPO].messages) == 2


def test_a_commit_whose_answer_is_lost_is_not_made_twice(server: Hub, pool: Path, tmp_path: Path) -> None:
    server.troubles = [Trouble("commit", drop=True)]
    report = publish(pool, tmp_path)
    assert report.commit == server.repos[REPO].branches["main"]
    assert server.count("commit") == 1


def test_a_hub_that_stays_away_leaves_nothing_behind(server: Hub, pool: Path, tmp_path: Path) -> None:
    server.troubles = [Trouble("batch", status=503, times=1000)]
    with pytest.raises(Interrupted, match="the Hub answers 503"):
        publish(pool, tmp_path)
    assert list(server.tree(REPO)) == [".gitattributes"]


def test_no_network_is_said_with_the_address(server: Hub, pool: Path, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(Interrupted, match=r"datasets/me/small: cannot be reached"):
        publish(pool, tmp_path)


def test_a_shard_that_was_changed_since_it_was_built_is_not_published(server: Hub, pool: Path, tmp_path: Path) -> None:
    path = list_shards(pool)[3].path
    data = bytearray((pool / path).read_bytes())
    data[1000] ^= 1
    (pool / path).write_bytes(data)
    with pytest.raises(PublishError, match=f"{path}: its sha256 is .* it was changed since it was built"):
        publish(pool, tmp_path)
    assert list(server.tree(REPO)) == [".gitattributes"]


def test_a_shard_that_changes_on_the_hub_is_named_and_only_replaced_with_replace(
    server: Hub, pool: Path, tmp_path: Path
) -> None:
    publish(pool, tmp_path)
    path = list_shards(pool)[2].path
    server.change(REPO, path, b"x" * (pool / path).stat().st_size)
    wrong = verify_push(described(pool, tmp_path), Repository(REPO))
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{path}: differs on the Hub")
    with pytest.raises(PublishError, match=r"1 shards that differ from those here .*--replace"):
        publish(pool, tmp_path)
    assert publish(pool, tmp_path, replace=True).sent == 1
    assert verify_push(described(pool, tmp_path), Repository(REPO)) == []
    server.change(REPO, path, None)
    assert verify_push(described(pool, tmp_path), Repository(REPO)) == [f"{path}: is not on the Hub"]


def test_shards_of_another_pool_are_not_mixed_in(server: Hub, pool: Path, tmp_path: Path) -> None:
    publish(pool, tmp_path)
    server.change(REPO, "train/haze/elsewhere-00000.tar", b"other")
    with pytest.raises(PublishError, match=r"1 shards that are not here \(train/haze/elsewhere-00000.tar"):
        publish(pool, tmp_path)
    assert publish(pool, tmp_path, replace=True).deleted == 1
    assert "train/haze/elsewhere-00000.tar" not in server.tree(REPO)


def test_another_users_commit_in_between_is_not_overwritten(server: Hub, pool: Path, tmp_path: Path) -> None:
    publish(pool, tmp_path)
    server.change(REPO, "README.md", b"by hand")
    repository = Repository(REPO)
    plan = plan_push(described(pool, tmp_path), repository)
    server.change(REPO, "LICENSE", b"meanwhile")
    with pytest.raises(MovedOn, match="another commit was made to main"):
        push(plan, repository)
    assert server.tree(REPO)["README.md"].data == b"by hand"


def test_a_repository_that_holds_something_else_is_left_alone(server: Hub, pool: Path, tmp_path: Path) -> None:
    Repository(REPO).create(private=False)
    server.change(REPO, "weights.bin", b"mine")
    with pytest.raises(PublishError, match=r"holds files that are not shards \(weights.bin"):
        publish(pool, tmp_path)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "no token. Log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_nonsense_secret", "does not accept the token"),
        (READER, "the token has no write permission"),
    ],
)
def test_a_token_without_write_permission_is_refused_and_not_shown(
    token: str, says: str, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with online_hub(monkeypatch, tmp_path, token) as server:
        with pytest.raises(PublishError, match=says) as caught:
            publish(built, tmp_path)
        assert not token or token not in str(caught.value)
        assert REPO not in server.repos
    assert WRITER not in repr(Repository(REPO, token=WRITER))


def test_sources_that_may_not_be_redistributed_are_refused_by_name(built: Path, tmp_path: Path) -> None:
    locked = describe(built, REPO, manifests=manifests(tmp_path, free=False))
    with pytest.raises(PublishError, match=r"may not be redistributed.*here \(CC BY 4.0\).*--recipes-only"):
        check_licences(locked)
    with pytest.raises(PublishError, match=r"here \(no manifest\)"):
        check_licences(describe(built, REPO))
    check_licences(describe(built, REPO, recipes_only=True))
    check_licences(describe(built, REPO, manifests=manifests(tmp_path, free=True)))


def test_recipes_only_publishes_no_pixels(server: Hub, pool: Path, tmp_path: Path) -> None:
    publish(pool, tmp_path, recipes_only=True)
    there = server.tree(REPO)
    assert not [path for path in there if path.endswith(".tar")]
    assert "overlaps/cbsd68.txt" in there
    assert there["sources/here.toml"].data == (tmp_path / "manifests/here.toml").read_bytes()
    assert "--from-hub me/small" in there["README.md"].data.decode()


def test_an_unfinished_build_is_not_published(pool: Path) -> None:
    info = json.loads((pool / "info.json").read_text())
    info["shards"].popitem()
    (pool / "info.json").write_text(json.dumps(info))
    with pytest.raises(ShardError, match="a build was not finished"):
        describe(pool, REPO)


def test_a_plan_counts_what_would_be_sent_and_asks_for_no_token(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with online_hub(monkeypatch, tmp_path, token="") as server:
        server.repos.clear()
        plan = plan_push(describe(built, REPO), Repository(REPO))
        document = as_json(plan)
        assert document["exists"] is False
        assert document["files"] == len(plan.send) == 8 * 3 + 5
        assert "may not be redistributed" in plan.problems[0]
        assert {kind for kind, _ in server.log} == {"info"}


def test_the_card_names_sources_counts_and_how_it_was_made(built: Path, tmp_path: Path) -> None:
    written = pages(described(built, tmp_path), "https://huggingface.co")
    text = written["README.md"].decode()
    head, body = text.split("---\n", 2)[1:]
    metadata = yaml.safe_load(head)
    assert [row["config_name"] for row in metadata["configs"]] == ["small", "noise", "jpeg", "haze"]
    assert metadata["configs"][0]["default"] is True
    information = metadata["dataset_info"][0]
    assert [(s["name"], s["num_examples"]) for s in information["splits"]] == [("train", 80), ("test", 1)]
    assert "| [here](https://example.org/here) | Photographs of here | 81 |" in body
    assert "The third one is crooked." in body
    assert "A. Body, Photographs of here, 2020" in body
    assert "| noise | 48 | 1 |" in body
    assert "uir build-shards --subset small --seed 0 --codec webp" in body
    assert "| haze | 0 | 72,030 | -72,030 |" in body
    assert "known to be in a benchmark" in body
    tasks = yaml.safe_load(written["eval.yaml"])["tasks"]
    assert [(task["config"], task["split"]) for task in tasks] == [("small", "test"), ("noise", "test")]


def test_pages_are_the_same_bytes_each_time(built: Path, tmp_path: Path) -> None:
    assert pages(described(built, tmp_path), "https://x.y") == pages(described(built, tmp_path), "https://x.y")


def test_croissant_has_the_hash_of_every_shard(built: Path, tmp_path: Path) -> None:
    document = json.loads(pages(described(built, tmp_path), "https://huggingface.co")["croissant.json"])
    published = {row["@id"]: row["sha256"] for row in document["distribution"] if row["@id"].endswith(".tar")}
    assert published == {state.path: state.sha256 for state in list_shards(built)}


def test_a_configuration_names_the_shards_of_its_subset_and_counts_what_else_lies_in_them(tmp_path: Path) -> None:
    def shard(number: int, *levels: str) -> None:
        samples = []
        for index, level in enumerate(levels):
            made = sample(f"s{number}-{index}", index)
            samples.append(replace(made, fields={**made.fields, "level": level}))
        write_shard(tmp_path / "pool", f"train/noise/here-{number:05d}.tar", samples, "plan", [])

    shard(0, "gaussian-15", "gaussian-25")
    shard(1, "gaussian-50")
    shard(2, "gaussian-25")
    shards = list_shards(tmp_path / "pool")
    info = {
        "codec": "png",
        "subsets": {"mild": [["noise"]]},
        "shards": {s.path: {"samples": s.samples, "bytes": s.size, "sha256": s.sha256} for s in shards},
    }
    (tmp_path / "pool/info.json").write_text(json.dumps(info))
    folder = manifests(tmp_path / "manifests")[0]
    (folder / "subsets.toml").write_text(
        '[[subset]]\nname = "mild"\ntitle = "t"\nclasses = [["noise"]]\n[[subset.use]]\nsources = ["here"]\n'
        'degradations = ["noise"]\nsplits = ["train"]\nlevels = ["gaussian-25"]\n'
    )
    mild, noise = describe(tmp_path / "pool", REPO, manifests=[folder]).configurations
    found = mild.splits["train"]
    assert found.patterns == ("train/noise/here-00000.tar", "train/noise/here-00002.tar")
    assert (found.samples, found.outside) == (3, 1)
    assert mild.filters == [
        [["source", "==", "here"], ["label", "==", "noise"], ["split", "==", "train"], ["level", "in", ["gaussian-25"]]]
    ]
    assert noise.filters == []
    found = noise.splits["train"]
    assert found.patterns == ("train/noise/here-[0-9][0-9][0-9][0-9][0-9].tar",)
    assert (found.samples, found.outside) == (4, 0)


def test_the_card_lists_the_types_that_share_a_label_in_training(built: Path, tmp_path: Path) -> None:
    publication = described(built, tmp_path)
    first = publication.configurations[0]
    subset = Subset("small", "t", (("noise", "haze", "snow"), ("jpeg",)), {}, ())
    changed = (replace(first, subset=subset), *publication.configurations[1:])
    text = pages(replace(publication, configurations=changed), "https://x.y")["README.md"].decode()
    assert "| small | 80 | 0 | 1 | noise, jpeg, haze | noise and haze share one label in training |" in text


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC BY 4.0 (the author's card on Hugging Face)", "cc-by-4.0"),
        ("CC BY-NC-SA 4.0, academic use only", "cc-by-nc-sa-4.0"),
        ("CC0; gray", "cc0-1.0"),
        ("MIT (the official repository)", "mit"),
        ("MIT for academic and other non-commercial use; commercial use needs another licence", "other"),
        ("unknown for the images (the code is MIT)", "unknown"),
        ("public domain (NASA)", "other"),
        ("research only, as third parties state (the repository's MIT is for its code)", "other"),
    ],
)
def test_a_licence_in_words_becomes_the_hubs_identifier(licence: str, identifier: str, built: Path) -> None:
    publication = describe(built)
    table = publication.table
    column = table.schema.get_field_index("licence")
    changed = table.set_column(column, "licence", [[licence] * table.num_rows])
    assert licence_identifiers(replace(publication, table=changed)) == [identifier]


def tables_in(server: Hub) -> dict[str, bytes]:
    return {path: blob.data for path, blob in server.tree(REPO).items() if path.startswith("parquet/")}


def test_each_shard_goes_as_a_table_too_and_none_is_left_on_the_disk(server: Hub, pool: Path, tmp_path: Path) -> None:
    publish(pool, tmp_path)
    shards = list_shards(pool)
    assert set(tables_in(server)) == {
        f"parquet/{state.path.removesuffix('.tar')}-{state.sha256[:12]}.parquet" for state in shards
    }
    assert not list((pool / ".push").glob("*.parquet"))
    shutil.rmtree(pool / ".push")
    before = len(server.log)
    assert publish(pool, tmp_path).sent == 0
    assert not {kind for kind, _ in server.log[before:]} & {"upload", "commit"}
    # Their hashes are no longer stored: the tables are made again, and compared.
    assert verify_push(described(pool, tmp_path), Repository(REPO)) == []
    assert not list((pool / ".push").glob("*.parquet"))


def test_a_table_that_changes_on_the_hub_is_named_and_sent_again(server: Hub, pool: Path, tmp_path: Path) -> None:
    publish(pool, tmp_path)
    path, right = next(iter(tables_in(server).items()))
    server.change(REPO, path, right[:-1] + b"x")
    assert [line.split(":")[0] for line in verify_push(described(pool, tmp_path), Repository(REPO))] == [path]
    assert publish(pool, tmp_path).sent == 1
    assert tables_in(server)[path] == right


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"size": "x", "sha256": 1}}'])
def test_an_unreadable_ledger_of_tables_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / ".push").mkdir()
    (tmp_path / ".push/tables.json").write_text(text)
    assert Tables(tmp_path).known("a") is None


def test_no_table_is_made_of_a_shard_that_was_changed(server: Hub, pool: Path, tmp_path: Path) -> None:
    publish(pool, tmp_path)
    path = list_shards(pool)[3].path
    table = next(name for name in tables_in(server) if name.startswith(f"parquet/{path.removesuffix('.tar')}-"))
    server.change(REPO, table, None)
    data = bytearray((pool / path).read_bytes())
    data[1000] ^= 1
    (pool / path).write_bytes(data)
    head = server.repos[REPO].branches["main"]
    with pytest.raises(PublishError, match=f"{path}: its sha256 is .*Nothing was published"):
        publish(pool, tmp_path)
    assert server.repos[REPO].branches["main"] == head


def test_two_pushes_from_one_folder_do_not_take_each_others_tables(server: Hub, pool: Path, tmp_path: Path) -> None:
    with Tables(pool).alone(), pytest.raises(PublishError, match="being published by another command"):
        publish(pool, tmp_path)
    assert list(server.tree(REPO)) == [".gitattributes"]
    assert publish(pool, tmp_path).sent


def test_who_does_not_answer_at_all_is_given_up_sooner_than_who_is_busy(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("uirdata.hosts.repository.time.sleep", waits.append)
    server.troubles = [Trouble("info", status=503, times=1000)]
    with pytest.raises(Interrupted):
        Repository(REPO).read()
    assert waits == list(WAITS_S)
    waits.clear()
    with pytest.raises(Interrupted):
        Repository(REPO, endpoint="http://127.0.0.1:9").read()
    assert waits == list(WAITS_S[:2])
