"""uir push-hf: publish shards on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uirdata.errors import PublishError, UsageError
from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import DRY_RUN, ROOT, common

if TYPE_CHECKING:
    from uirdata.hosts.repository import Repository
    from uirdata.pipeline.publishing.publication import Publication
    from uirdata.pipeline.publishing.push import PushPlan


@click.command("push-hf")
@click.argument("words", nargs=-1, required=True, metavar="[DIR] REPO")
@click.option("--private", is_flag=True, help="Make the repository private if it is created.")
@click.option("--recipes-only", is_flag=True, help="Publish manifests and recipes without pixels.")
@click.option(
    "--no-tables", is_flag=True, help="Publish only the tars: half the bytes, and load_dataset reads the tars."
)
@click.option("--verify", is_flag=True, help="After the push, compare the hash of every file with the hash on the Hub.")
@click.option(
    "--replace", is_flag=True, help="Replace shards that differ on the Hub, and delete those that are not in DIR."
)
@click.option("--revision", default="main", show_default=True, metavar="BRANCH", help="The branch to commit to.")
@click.option(
    "--token", metavar="TEXT", help="Access token; used instead of HF_TOKEN and of the login of `hf auth login`."
)
@ROOT
@DRY_RUN
@common
def push_hf(
    words: tuple[str, ...],
    private: bool,
    recipes_only: bool,
    no_tables: bool,
    verify: bool,
    replace: bool,
    revision: str,
    token: str | None,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Publish a shard folder on the Hugging Face Hub, in one commit.

    REPO is owner/name; DIR is a shard folder (default: ROOT/shards). Writes README.md (the card), croissant.json and
    eval.yaml into the folder. Each shard is uploaded as a tar and as a table that load_dataset and the viewer read;
    tables are made just before their upload, so that the disk needs room for a few of them only. Files that are on the
    Hub already are not uploaded again; after an interruption, the same command uploads what is missing, and the branch
    does not change until all files are uploaded. Images that may not be redistributed are refused, with their sources.

    \b
    Examples:
      uir push-hf me/my-shards --private
      uir push-hf /data/shards me/my-shards --dry-run
      uir push-hf /data/shards me/my-recipes --recipes-only
    """
    from uirdata.hosts.repository import Repository
    from uirdata.pipeline.choosing import extra_manifests
    from uirdata.pipeline.publishing.publication import describe
    from uirdata.pipeline.publishing.push import as_json, plan_push, prepare_push, push

    layout = Layout(root)
    folder, name = _folder_and_name(words, layout)
    publication = describe(
        folder, name, recipes_only=recipes_only, tables=not no_tables, manifests=extra_manifests(layout)
    )
    repository = Repository(name, branch=revision, token=token)
    if dry_run:
        plan = plan_push(publication, repository, replace=replace)
        console.data(as_json(plan))
        _show(console, plan)
        return
    plan = prepare_push(publication, repository, replace=replace)
    for problem in plan.problems:
        console.warning(problem)
    console.remark(
        f"{len(plan.send):,} files, {size_text(plan.send_bytes)}, to {repository.link} as {repository.user()}"
    )
    with console.progress() as progress:
        report = push(plan, repository, private=private, progress=progress)
    wrong = _verified(console, publication, repository) if verify else None
    console.data(
        {
            "repository": repository.link,
            "commit": report.commit,
            "sent": report.sent,
            "sent_bytes": report.sent_bytes,
            "deleted": report.deleted,
            "wrong": wrong,
        }
    )
    console.line(
        f"{report.sent:,} files uploaded, {size_text(report.sent_bytes)}; "
        f"{len(plan.files) - report.sent:,} were there. {repository.link} at {report.commit[:12]}"
    )
    if wrong:
        raise PublishError(f"{len(wrong)} files differ on the Hub: {wrong[0]}")
    if wrong is not None:
        console.line(f"all {len(plan.files):,} files have the same bytes on the Hub")


def _folder_and_name(words: tuple[str, ...], layout: Layout) -> tuple[Path, str]:
    from uirdata.hosts.repository import repository_name

    if len(words) > 2:
        raise UsageError(f"expected [DIR] REPO, got {len(words)} arguments: {' '.join(words)}")
    return (Path(words[0]) if len(words) == 2 else layout.shards), repository_name(words[-1])


def _show(console: Console, plan: PushPlan) -> None:
    sizes: dict[str, list[int]] = {}
    waiting = {file.path for file in plan.send}
    for file in plan.files:
        row = sizes.setdefault(file.path.rpartition("/")[0] or ".", [0, 0, 0])
        row[0] += 1
        row[1] += file.path in waiting
        row[2] += file.size
    rows: list[dict[str, Any]] = [
        {"folder": folder, "files": files, "to send": send, "bytes": size_text(size)}
        for folder, (files, send, size) in sorted(sizes.items())
    ]
    console.table(rows, right=["bytes"])
    new = "" if plan.base else "; the repository would be created"
    console.line(
        f"{len(plan.send):,} of {len(plan.files):,} files, {size_text(plan.send_bytes)}, would be uploaded{new}"
    )
    for path in plan.delete:
        console.line(f"would be deleted: {path}")
    for problem in plan.problems:
        console.warning(problem)


def _verified(console: Console, publication: Publication, repository: Repository) -> list[str]:
    from uirdata.pipeline.publishing.push import verify_push

    with console.progress() as progress:
        wrong = verify_push(publication, repository, progress=progress)
    for line in wrong:
        console.warning(line)
    return wrong
