"""uir doctor: which known sources lie in a folder, and what its disk can do."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import ROOT, common
from .source_views import found_rows, show_found


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@ROOT
@common
def doctor(folder: Path, root: Path, console: Console) -> None:
    """
    Show which published sources lie in a folder, how complete, and the command that takes them. Changes nothing.

    Archives are recognised by name, size and hash, unpacked folders by the layouts that the manifests know. Also shows
    what the disks of the folder and of --root can do.

    \b
    Examples:
      uir doctor ~/datasets
    """
    from dataclasses import replace

    from uirdata.pipeline.choosing import all_sources
    from uirdata.pipeline.fetching.plan import plan_fetch
    from uirdata.storage.disk_abilities import disk_abilities

    layout = Layout(root)
    known = all_sources(layout)
    published = [source for source in known.values() if source.local_dir is None and source.files]
    plan = plan_fetch(published, layout, from_dir=folder, known=known)
    held = [entry for entry in plan.sources if any(file.state == "given" for file in entry.files)]
    plan = replace(plan, sources=tuple(held))
    abilities = disk_abilities(root, folder)
    command = f"uir fetch {' '.join(entry.source.id for entry in held)} --from {shlex.quote(str(folder))}"
    console.data(
        {
            "found": found_rows(plan),
            "not_taken": [
                {"folder": row.folder, "suffix": row.suffix, "files": row.files, "belongs": row.belongs}
                for row in plan.unwanted
            ],
            "command": command if held else "",
            "disk": abilities,
        }
    )
    if held:
        show_found(console, plan)
        console.line(f"to take them: {command}")
    else:
        show_found(console, plan)
        console.line(
            f"no published source was recognised in {folder}. For your own images: "
            f"`uir fetch my-images --from {shlex.quote(str(folder))}`"
        )
    console.line(f"the disk of {abilities.pop('folder')}: {size_text(int(abilities.pop('free bytes')))} free")
    for ability, works in abilities.items():
        console.line(f"  {ability}: {'yes' if works else 'no'}")
