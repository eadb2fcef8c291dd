"""The data card of a published shard folder: README.md with metadata, and eval.yaml for its benchmark sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from uirdata.degradations import DEGRADATIONS
from uirdata.facts.overlaps import load_overlaps
from uirdata.pipeline.publishing.card_metadata import metadata
from uirdata.pipeline.publishing.publication import RECIPES, TABLES, Configuration, Publication
from uirdata.pipeline.reporting.statistics_page import Statistics, count_shards
from uirdata.storage.shards import MANIFEST

PAPER = "UIR-2.5M and MaskDCPT (masked degradation classification pre-training)"

_LOADING = """```python
from datasets import load_dataset

data = load_dataset("{name}"{choice}, split="{split}", streaming=True)
row = next(iter(data))
row["lq"], row["gt"]  # images
data.features["label"].int2str(row["label"]), row["level"], row["source"]
```

"""

_TAR_LOADING = """```python
from datasets import Features, Image, Value, load_dataset

data = load_dataset("{name}"{choice}, split="{split}", streaming=True)
features = Features(
    {{
        "lq": Image(),
        "gt": Image(),
        "label": data.features["json"]["degradation"],
        "level": Value("string"),
        "source": Value("string"),
    }}
)
data = data.map(
    lambda row: {{
        "lq": row["lq.{codec}"],
        "gt": row["gt.{codec}"],
        "label": row["json"]["degradation"],
        "level": row["json"]["level"],
        "source": row["json"]["source"],
    }},
    features=features,
    remove_columns=data.column_names,
)
```

"""

_LAZY_LOADING = """```python
from datasets import load_dataset

data = load_dataset("{name}"{choice}, split="{split}", streaming=True)
clean = next(iter(data))["gt.{codec}"]
```

"""

_TABLES = """This reads the tables in `{tables}`: a copy of each shard as a table, with its images in the rows.
`columns=["label"]` reads no images; without `streaming=True` all images are downloaded and cached. The tars can be read
without the tables: `hf download {name} --repo-type dataset --exclude "{tables}/*"`.

"""

_READING = """For random access, counts and training:

```
python -c 'import uirdata; print(uirdata.open_shards("{url}")[0].key)'
uir stats {url}
maskdcpt train --shards {url}
```

The tars are in WebDataset format: `<key>.gt`, `<key>.lq` and `<key>.json`. `info.json` has the sha256 of each tar,
`{manifest}` has one row for each sample, with its position in the tar, its recipe, and the sha256 of its pixels."""


def describe_briefly(publication: Publication) -> str:
    """Return a description in one sentence."""
    samples, types = publication.table.num_rows, len(publication.table["degradation"].unique())
    what = "recipes for pairs" if publication.recipes_only else "pairs of a degraded image and its clean image"
    return f"{samples:,} {what}, {types} degradations, from {_number_of_sources(publication)}."


def card(publication: Publication) -> str:
    """Return the text of README.md: metadata between lines of dashes, then the description for readers."""
    import yaml

    head = yaml.safe_dump(metadata(publication), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n" + "\n\n".join(_body(publication, count_shards(publication.folder))) + "\n"


def evaluation(publication: Publication) -> str:
    """Return the text of eval.yaml, the benchmark sets for which the Hub lists results; "" without a test split."""
    import yaml

    tasks = [
        {"id": f"{configuration.name}-test", "config": configuration.name, "split": "test"}
        for configuration in publication.configurations
        if "test" in configuration.splits
    ]
    if not tasks:
        return ""
    document = {
        "name": publication.title,
        "description": describe_briefly(publication) + " PSNR and SSIM in RGB on whole images.",
        "evaluation_framework": "maskdcpt",
        "tasks": tasks,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def _number_of_sources(publication: Publication) -> str:
    number = len(publication.sources) + len(publication.unknown)
    return "one published source" if number == 1 else f"{number} published sources"


def _body(publication: Publication, statistics: Statistics) -> Iterable[str]:
    yield f"# {publication.title}"
    yield (
        f"{describe_briefly(publication)} For training and testing of universal image restoration. Part of a "
        f"re-implementation of {PAPER} from the paper. Images are lossless, RGB, 8 bit."
    )
    yield "## Usage"
    yield _usage(publication)
    yield "## Contents"
    yield _counts(publication)
    if publication.configurations:
        yield "Configurations, for `load_dataset(repository, name)`:"
        yield _configurations(publication)
    yield "## Comparison with the paper's table"
    yield (
        "Training samples here, and samples of UIR-2.5M as printed in its paper. `uir stats --explain` shows for each "
        "source how it contributes to the numbers."
    )
    yield _table(
        [
            {"row": row.row, "here": row.samples, "UIR-2.5M": row.paper, "difference": row.difference}
            for row in statistics.beside_paper()
        ]
    )
    yield "## Sources"
    yield _sources(publication)
    yield from _citations(publication)
    yield "## Known defects"
    yield _defects(publication, statistics)
    yield "## Contamination"
    yield _contamination(publication)
    yield "## How it was built"
    yield _provenance(publication)


def _usage(publication: Publication) -> str:
    name = publication.repository or "OWNER/NAME"
    url = f"hf://datasets/{name}"
    if publication.recipes_only:
        return (
            "No pixels are published here: the licences of the sources do not allow it, or do not state that they do. "
            "Download the sources yourself, and build the same bytes from the recipes:\n\n"
            f"```\nuir fetch {' '.join(publication.sources)}\nuir build-shards --from-hub {name} --out shards\n```\n\n"
            "Each rebuilt shard is compared with its sha256 in `info.json`. `sources` has the manifest of each source: "
            "where its files are and how they are paired; copy a manifest that your release does not know into the "
            "folder `manifests` of your root. To read the recipes:\n\n"
            "```python\nfrom datasets import load_dataset\n\n"
            f'rows = load_dataset("{name}", "{RECIPES}", split="train")\n```'
        )
    first = next(iter(publication.configurations), None)
    choice = f', "{first.name}"' if first else ""
    split = next(iter(first.splits)) if first else "train"
    loading = _LAZY_LOADING if publication.lazy else _LOADING + _TABLES if publication.tables else _TAR_LOADING
    filled = loading.format(name=name, choice=choice, split=split, codec=publication.info["codec"], tables=TABLES)
    return filled + _notes(publication) + _READING.format(url=url, manifest=MANIFEST)


def _notes(publication: Publication) -> str:
    notes = ""
    if publication.info["codec"] == "webp":
        notes += (
            "The images are lossless WebP, but `datasets` writes lossy WebP: `rename_columns` of a streamed data set, "
            "and `map` of a data set that is not streamed, change their pixels. The code above does not, and neither "
            "does `rename_columns` of a data set that is not streamed.\n\n"
        )
    if publication.lazy:
        notes += (
            "The shards are lazy: they hold each clean image and the recipes, and `lq` is empty if it is generated. "
            "`uirdata` and `maskdcpt` generate it when a sample is read.\n\n"
        )
    return notes


def _counts(publication: Publication) -> str:
    pairs = zip(publication.table["degradation"].to_pylist(), publication.table["split"].to_pylist(), strict=True)
    counts = Counter(pairs)
    splits = [name for name in ("train", "val", "test") if any(split == name for _, split in counts)]
    return _table(
        [
            {"degradation": name, **{split: counts[name, split] for split in splits}}
            for name in DEGRADATIONS
            if any(counts[name, split] for split in splits)
        ]
    )


def _configurations(publication: Publication) -> str:
    rows = []
    are = "are left out" if publication.tables else "are in the same shards"
    for configuration in publication.configurations:
        outside = sum(split.outside for split in configuration.splits.values())
        rows.append(
            {
                "name": configuration.name,
                **{name: _samples(publication, configuration, name) for name in ("train", "val", "test")},
                "labels in order": ", ".join(configuration.types),
                "note": "; ".join(
                    [
                        *([f"{outside:,} samples of other levels {are}"] if outside else []),
                        *(f"{' and '.join(kinds)} share one label in training" for kinds in _shared(configuration)),
                    ]
                ),
            }
        )
    return _table(rows)


def _shared(configuration: Configuration) -> Iterable[tuple[str, ...]]:
    """Yield the types that share a label; in `datasets` each has its own, because a name has one number there."""
    classes = configuration.subset.classes if configuration.subset else ()
    present = (tuple(kind for kind in kinds if kind in configuration.types) for kinds in classes)
    return (kinds for kinds in present if len(kinds) > 1)


def _samples(publication: Publication, configuration: Configuration, split: str) -> int:
    found = configuration.splits.get(split)
    return 0 if found is None else found.samples - (found.outside if publication.tables else 0)


def _sources(publication: Publication) -> str:
    counts = Counter(publication.table["source"].to_pylist())
    rows = [
        {
            "source": f"[{name}]({source.homepage})" if source.homepage else name,
            "title": source.title,
            "samples": counts[name],
            "licence": source.licence,
        }
        for name, source in publication.sources.items()
    ]
    rows += [
        {"source": name, "title": "", "samples": counts[name], "licence": "unknown"} for name in publication.unknown
    ]
    return _table(rows)


def _citations(publication: Publication) -> Iterable[str]:
    lines = [f"- {name}: {source.citation}" for name, source in publication.sources.items() if source.citation]
    if lines:
        yield "If you use these images, please cite their authors:"
        yield "\n".join(lines)


def _defects(publication: Publication, statistics: Statistics) -> str:
    lines = [f"- {name}: {text}" for name, source in publication.sources.items() for text in source.known_defects]
    lines += [f"- left out, {number:,} samples: {reason}" for reason, number in statistics.rejected.items()]
    return "\n".join(lines) or "None are known for these sources."


def _contamination(publication: Publication) -> str:
    table = publication.table
    held: Counter[str] = Counter()
    for names, split in zip(table["overlaps"].to_pylist(), table["split"].to_pylist(), strict=True):
        if names and split == "train":
            held.update(names.split(","))
    some = sorted(
        {(overlap.source, overlap.benchmark) for overlap in load_overlaps() if overlap.kind == "some"}
        & {(source, overlap.benchmark) for overlap in load_overlaps() for source in publication.sources}
    )
    lines = [f"- {number:,} training samples show scenes of {name}" for name, number in sorted(held.items())]
    lines += [f"- some scenes of {source} are also in {name}; which ones is not published" for source, name in some]
    if not lines:
        return (
            "None of the training samples shows a scene that is known to be in a benchmark. This is not a proof that "
            "there are none."
        )
    return (
        "\n".join(lines) + "\n\nThe column `overlaps` of the manifest lists the benchmarks of each sample; "
        "`uir build-shards --variant clean` leaves out these scenes."
    )


def _provenance(publication: Publication) -> str:
    info = publication.info
    subsets = info.get("subsets", {})
    options = f"--seed {info.get('seed', 0)} --codec {info.get('codec')}" + (" --lazy" if publication.lazy else "")
    commands = "\n".join(f"uir build-shards --subset {name} {options}" for name in subsets)
    libraries = ", ".join(f"{name} {text}" for name, text in sorted(info.get("libraries", {}).items()))
    crops = Counter(tuple(cut) for cut in info.get("crops", {}).values())
    cuts = ", ".join(
        "whole images" if size == 0 else f"{size} x {size} at stride {stride}" for (size, stride) in sorted(crops)
    )
    return (
        f"Built by {info.get('made_by')}, with {libraries}. Crops: {cuts}. The same sources, seed and version give the "
        f"same bytes.\n\n```\n{commands}\n```"
    )


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return "None."
    head = "| " + " | ".join(rows[0]) + " |"
    numeric = [all(isinstance(row[name], int) for row in rows) for name in rows[0]]
    rule = "|" + "|".join("---:" if number else "---" for number in numeric) + "|"
    lines = ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join([head, rule, *lines])


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.replace("|", "\\|").split())
