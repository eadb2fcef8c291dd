"""uir push-hf: shards to the Hugging Face Hub."""

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
@click.option("--private", is_flag=True, help="Make the repository private, where it is not there yet.")
@click.option("--recipes-only", is_flag=True, help="Publish manifests and recipes; no pixels.")
@click.option("--no-tables", is_flag=True, help="Publish the tars alone: half the bytes, and load_dataset reads these.")
@click.option("--verify", is_flag=True, help="Afterwards compare every file's hash with the one that the Hub has.")
@click.option("--replace", is_flag=True, help="Replace shards that differ there, and take away those not here.")
@click.option("--revision", default="main", show_default=True, metavar="BRANCH", help="The branch to publish to.")
@click.option("--token", metavar="TEXT", help="Instead of HF_TOKEN and the login of `hf auth login`.")
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

    REPO is owner/name; DIR is a shard folder, without it ROOT/shards. Writes README.md (the card), croissant.json and
    eval.yaml into the folder. Each shard goes as a tar and as a table that load_dataset and the viewer read; tables are
    made when they are sent, so that the disk needs room for a few of them only. What is there already is not sent
    again; interrupted and started again, it does what is left, and the branch shows nothing until all is there. Images
    that may not be passed on are refused by the name of their source.

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
        f"{report.sent:,} files sent, {size_text(report.sent_bytes)}; {len(plan.files) - report.sent:,} were there. "
        f"{repository.link} at {report.commit[:12]}"
    )
    if wrong:
        raise PublishError(f"{len(wrong)} files differ: {wrong[0]}")
    if wrong is not None:
        console.line(f"all {len(plan.files):,} files have the same bytes there")


def _folder_and_name(words: tuple[str, ...], layout: Layout) -> tuple[Path, str]:
    from uirdata.hosts.repository import repository_name

    if len(words) > 2:
        raise UsageError(f"expected [DIR] REPO, got {len(words)} words: {' '.join(words)}")
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
    new = "" if plan.base else "; the repository would be made"
    console.line(f"{len(plan.send):,} of {len(plan.files):,} files, {size_text(plan.send_bytes)}, would be sent{new}")
    for path in plan.delete:
        console.line(f"would be taken away: {path}")
    for problem in plan.problems:
        console.warning(problem)


def _verified(console: Console, publication: Publication, repository: Repository) -> list[str]:
    from uirdata.pipeline.publishing.push import verify_push

    with console.progress() as progress:
        wrong = verify_push(publication, repository, progress=progress)
    for line in wrong:
        console.warning(line)
    return wrong
