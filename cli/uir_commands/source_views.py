"""Output of sources, of the plan and the result of a fetch, and of a verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from uirdata.errors import PartlyDone, SourceError
from uirdata.transfer import redacted

from ..console import Console, size_text

if TYPE_CHECKING:
    from uirdata.pipeline.fetching.fetch import FetchPlan, FetchReport
    from uirdata.pipeline.fetching.inventory import Inventory
    from uirdata.pipeline.verifying.verify import SourceVerification
    from uirdata.sources import RemoteFile, Source

ACCESS = {
    "open": "automatic",
    "token": "needs a token: accept the terms on its page, then set HF_TOKEN",
    "login": "needs an account on its site",
    "form": "needs a form, answered by email",
    "by-hand": "manually, in a browser",
}


_GATES = {
    "token": "need a token",
    "login": "need an account on their site",
    "form": "need a form",
    "by hand": "have files that you have to download manually",
}


def show_source(console: Console, source: Source) -> None:
    """Show all that is known of a source."""
    console.line(f"{source.title}  ({source.id})")
    console.line(f"  {source.homepage}" if source.homepage else "  your own folder")
    console.line(f"  licence: {source.licence}")
    console.line(f"  access: {ACCESS[source.access]}; {cost_text(source)} to download")
    if source.layout:
        console.line(f"  layout: {source.layout}")
    _show_files(console, source.files)
    for alternative in source.alternatives:
        console.line(f"  or, with --alternative {alternative.name}: {alternative.note or 'the same images'}")
        _show_files(console, alternative.files)
    console.table(
        [
            {
                "split": rule.split,
                "type": rule.degradation or "clean",
                "real": rule.real,
                "published": rule.published,
                "LQ": rule.lq or "made here",
                "GT": rule.gt,
            }
            for rule in source.pairs
        ],
        right=["published"],
    )
    for defect in source.known_defects:
        console.line(f"  known defect: {defect}")
    for aside in source.left_aside:
        console.line(f"  skipped: {aside.where}: {aside.reason}")
    for feed in source.feeds:
        number = "an unknown number" if feed.pairs is None else f"{feed.pairs:,}"
        console.line(f"  feeds {feed.row}: {number} of its pairs; {feed.how}")
    console.line()


def _show_files(console: Console, files: Sequence[RemoteFile]) -> None:
    """Show files, each with its mirrors in order of trust and the kind of access to each mirror."""
    console.table(
        [
            {
                "file": file.name if first else "",
                "size": size_text(file.expected_size) if first else "",
                "host": mirror.host,
                "where": redacted(mirror.where),
                "trust": mirror.trust,
                "reached": ACCESS[mirror.access].split(":")[0],
                "note": mirror.note,
            }
            for file in files
            for first, mirror in zip((True, *(False for _ in file.mirrors[1:])), file.mirrors, strict=True)
        ],
        right=["size"],
    )


def show_plan(console: Console, plan: FetchPlan) -> None:
    """Show what a fetch would do."""
    rows = [
        {
            "id": source.source.id,
            "file": file.file.name,
            "state": file.state,
            "to fetch": size_text(file.to_fetch),
            "licence": first_words(file.file.licence or source.source.licence),
            "what you have to do": file.todo,
        }
        for source in plan.sources
        for file in source.files
    ]
    console.data(
        {
            "files": rows,
            "sources": [
                {"id": entry.source.id, "licence": entry.source.licence, "gate": entry.gate} for entry in plan.sources
            ],
            "bytes_to_fetch": plan.bytes_to_fetch,
            "unknown_sizes": plan.unknown_sizes,
            "estimated_bytes": plan.estimated_bytes,
            "bytes_on_disk": plan.bytes_on_disk,
            "bytes_on_disk_pruned": plan.bytes_pruned,
            "free_bytes": plan.free_bytes,
        }
    )
    console.table(rows, right=["to fetch"])
    for entry in plan.sources:
        for doubt in entry.doubts:
            console.warning(f"{entry.source.id}: {doubt}")
    for gate, meaning in _GATES.items():
        if names := [entry.source.id for entry in plan.sources if entry.gate == gate]:
            console.line(f"{meaning}: {', '.join(names)}")
    unknown = f" and {_of_unknown_size(plan.unknown_sizes)}" if plan.unknown_sizes else ""
    if plan.estimated_bytes:
        unknown += f" (about {size_text(plan.estimated_bytes)} by their published numbers of images)"
    console.line(
        f"to download: {size_text(plan.bytes_to_fetch)}{unknown}; on disk after unpacking: "
        f"{size_text(plan.bytes_on_disk)} ({size_text(plan.bytes_pruned)} with --prune); "
        f"free: {size_text(plan.free_bytes)}"
    )


def show_found(console: Console, plan: FetchPlan) -> None:
    """Show what the user's folder holds of each source, where, and what it holds beside."""
    if plan.sources:
        console.table(found_rows(plan), right=["of"])
    _show_unwanted(console, plan)


def found_rows(plan: FetchPlan) -> list[dict[str, Any]]:
    """Return a row for each source, split and layout that the user's folder holds."""
    rows: list[dict[str, Any]] = []
    for entry in plan.sources:
        given = sum(file.state == "given" for file in entry.files)
        parts = entry.tree.parts if entry.tree is not None else ()
        for number, part in enumerate(parts):
            rows.append(
                {
                    "id": entry.source.id if number == 0 else "",
                    "found": f"{part.pairs:,} {'crops' if part.cut else 'pairs' if part.degradation else 'images'}",
                    "of": f"{part.published:,}" if part.published is not None and not part.cut else "",
                    "what": f"{part.split} {part.degradation or 'clean'}",
                    "in": _folders_text(part.folders),
                    "layout": part.layout or "its authors'",
                }
            )
        if not parts and given:
            places = [file.given.parent for file in entry.files if file.given is not None]
            rows.append(
                {
                    "id": entry.source.id,
                    "found": f"{given} of {len(entry.files)} files",
                    "of": "",
                    "what": "as published",
                    "in": ", ".join(dict.fromkeys(map(str, places))),
                    "layout": "",
                }
            )
        if not parts and not given:
            here = bool(entry.files) and all(file.state == "here" for file in entry.files)
            found = "is here already" if here else "nothing"
            rows.append({"id": entry.source.id, "found": found, "of": "", "what": "", "in": "", "layout": ""})
    return rows


def _folders_text(folders: Sequence[str]) -> str:
    """
    Return the folders of LQ and GT as a shell writes them, which is short enough for a table.

    >>> _folders_text(["LOL/our485/low", "LOL/our485/high"]), _folders_text(["lq", "gt"]), _folders_text(["BSD400"])
    ('LOL/our485/{low,high}', 'lq and gt', 'BSD400')
    """
    parents = {folder.rpartition("/")[0] for folder in folders}
    if len(folders) < 2 or len(parents) > 1 or "" in parents:
        return " and ".join(folders)
    return f"{parents.pop()}/{{{','.join(folder.rpartition('/')[2] for folder in folders)}}}"


def _show_unwanted(console: Console, plan: FetchPlan) -> None:
    """Show what lies in the user's folder that nothing wanted."""
    if not plan.unwanted:
        return
    total = sum(row.files for row in plan.unwanted)
    console.line(f"not taken from {plan.from_dir}: {total:,} file{'s' if total > 1 else ''}")
    largest = sorted(plan.unwanted, key=lambda row: (-row.files, row.folder, row.suffix))
    for row in largest[:10]:
        belongs = f": they look like {row.belongs}, which was not asked for" if row.belongs else ""
        belongs = f": {row.reason}" if row.reason else belongs
        console.line(f"  {row.files:,} {row.suffix or 'without a suffix'} in {row.folder}{belongs}")
    if len(largest) > 10:
        console.line(f"  and {sum(row.files for row in largest[10:]):,} in {len(largest) - 10} other places")


def show_report(console: Console, report: FetchReport) -> None:
    """Show the result of a fetch.

    Raises:
        SourceError: no source could be fetched.
        PartlyDone: some files or sources are missing.
    """
    console.data(
        [
            {
                "id": outcome.id,
                "state": outcome.state,
                "pairs": outcome.inventory.total if outcome.inventory else 0,
                "left_out": dict(outcome.inventory.left_out) if outcome.inventory else {},
                "files": [asdict(file) for file in outcome.files],
                "problems": list(outcome.problems),
                "taken": outcome.taken,
                "remarks": list(outcome.remarks),
            }
            for outcome in report.sources
        ]
    )
    console.table(
        [
            {
                "id": outcome.id,
                "state": outcome.state,
                "pairs": outcome.inventory.total if outcome.inventory else 0,
                "fetched": size_text(sum(file.bytes for file in outcome.files)),
            }
            for outcome in report.sources
        ],
        right=["fetched"],
    )
    for outcome in report.sources:
        if outcome.taken:
            console.line(f"{outcome.id}: {outcome.taken}")
        for remark in outcome.remarks:
            console.warning(f"{outcome.id}: {remark}")
        if outcome.inventory is not None:
            _show_left_out(console, outcome.id, outcome.inventory)
        for todo in outcome.todo:
            console.line(f"{outcome.id}: {todo}")
        for file in outcome.files:
            if file.state == "failed":
                console.warning(f"{outcome.id}: {file.name}: {file.message}")
        for problem in outcome.problems:
            console.warning(f"{outcome.id}: {problem}")
    if report.is_complete:
        return
    states = {outcome.state for outcome in report.sources}
    left = ", ".join(outcome.id for outcome in report.sources if outcome.state != "done")
    if states <= {"failed", "left"}:
        raise SourceError(f"could not fetch any of {left}; see the reasons above")
    raise PartlyDone(f"not complete yet: {left}; follow the steps above, then run the same command again")


def _show_left_out(console: Console, name: str, inventory: Inventory) -> None:
    for reason, number in inventory.left_out.items():
        console.warning(f"{name}: {number:,} left out: {reason} (such as {inventory.examples.get(reason, '')})")
    if inventory.unknown_count:
        console.warning(f"{name}: {inventory.unknown_count:,} images match no rule, such as {inventory.unknown[0]}")


def show_counts(console: Console, items: Sequence[SourceVerification]) -> None:
    """Show the pairs that were found next to the published numbers, and the rows of the paper that they feed."""
    rows: list[dict[str, Any]] = []
    for item in items:
        if item.inventory is None:
            continue
        kinds = sorted({*item.inventory.found, *item.published})
        feeds = "; ".join(
            f"{feed.row}: {'an unknown number' if feed.pairs is None else f'{feed.pairs:,}'}" for feed in item.paper
        )
        for kind in kinds:
            split, degradation, real = kind
            found, published = item.inventory.found.get(kind, 0), item.published.get(kind)
            rows.append(
                {
                    "id": item.id,
                    "split": split,
                    "type": degradation or "clean",
                    "real": real,
                    "found": found,
                    "published": published,
                    "difference": None if published is None else found - published,
                    "feeds rows of the paper": feeds if kind == kinds[0] else "",
                }
            )
    console.table(rows, right=["found", "published", "difference"])


def show_verification(console: Console, item: SourceVerification) -> None:
    """Show the problems of a source, and how to fix them."""
    for fault in (*item.missing[:10], *item.changed[:10]):
        console.warning(f"{item.id}: {fault.path}: {fault.reason}")
    if item.inventory is not None:
        _show_left_out(console, item.id, item.inventory)
    for text, number in item.warnings.items():
        console.warning(f"{item.id}: {number:,} pairs: {text} (such as {item.warning_examples.get(text, '')})")
    if item.state != "absent":
        for defect in item.known_defects:
            console.remark(f"{item.id}: known defect: {defect}")
    for todo in item.todo:
        console.line(f"{item.id}: {todo}")


def verification_document(item: SourceVerification) -> dict[str, Any]:
    """Return the result of a verification as a JSON document."""
    inventory = item.inventory
    return {
        "id": item.id,
        "state": item.state,
        "pairs": inventory.total if inventory else 0,
        "found": _by_kind(inventory.found) if inventory else [],
        "published": _by_kind(item.published),
        "left_out": dict(inventory.left_out) if inventory else {},
        "files_ok": item.files_ok,
        "missing": [asdict(fault) for fault in item.missing],
        "changed": [asdict(fault) for fault in item.changed],
        "warnings": dict(item.warnings),
        "paper": [asdict(feed) for feed in item.paper],
        "known_defects": list(item.known_defects),
        "todo": list(item.todo),
    }


def _by_kind(counts: Any) -> list[dict[str, Any]]:
    return [
        {"split": split, "degradation": degradation or "clean", "real": real, "pairs": number}
        for (split, degradation, real), number in counts.items()
    ]


def source_document(source: Source) -> dict[str, Any]:
    """Return a source as a JSON document."""
    known, unknown = cost_of(source)
    return {
        "id": source.id,
        "title": source.title,
        "types": list(source.degradations),
        "clean": source.is_clean,
        "pairs": _by_kind(source.published()),
        "bytes": None if unknown else known,
        "known_bytes": known,
        "unknown_sizes": unknown,
        "licence": source.licence,
        "redistributable": source.redistributable,
        "access": source.access,
        "homepage": source.homepage,
        "files": [asdict(file) for file in source.files],
        "alternatives": [asdict(alternative) for alternative in source.alternatives],
        "left_aside": [asdict(aside) for aside in source.left_aside],
        "known_defects": list(source.known_defects),
        "feeds": [asdict(feed) for feed in source.feeds],
    }


def cost_of(source: Source) -> tuple[int, int]:
    """Return the bytes to download of a source, as far as known, and the number of files of unknown size."""
    sizes = [file.expected_size for file in source.files]
    return sum(size or 0 for size in sizes), sizes.count(None)


def cost_text(source: Source) -> str:
    """Return the download size of a source as text."""
    known, unknown = cost_of(source)
    more = _of_unknown_size(unknown) if unknown else ""
    return " and ".join(part for part in (size_text(known) if known or not unknown else "", more) if part)


def _of_unknown_size(files: int) -> str:
    return f"{files} file{'s' if files > 1 else ''} of unknown size"


def first_words(text: str, limit: int = 40) -> str:
    """Return the beginning of a text, cut at a word."""
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + " ..."
