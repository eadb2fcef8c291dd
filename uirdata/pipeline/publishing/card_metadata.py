"""The metadata of a data card, which the Hub and `datasets` read at the top of README.md."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from uirdata.pipeline.publishing.publication import RECIPES, TABLES, Configuration, Publication
from uirdata.records import IN_TAR, Record
from uirdata.storage.image_tables import FACTS, IMAGES
from uirdata.storage.shards import MANIFEST

_IDENTIFIERS = (
    (r"cc by-nc-sa 4\.0", "cc-by-nc-sa-4.0"),
    (r"cc by 4\.0", "cc-by-4.0"),
    (r"cc by 2\.0", "cc-by-2.0"),
    (r"cc0", "cc0-1.0"),
    (r"mit\b(?! for academic)", "mit"),
    (r"unknown", "unknown"),
)
"""The beginning of a licence's name, and the Hub's identifier of it; any other licence is "other"."""

_YAML_TYPES = {"str": "string", "int": "int64", "bool": "bool"}

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def licence_identifiers(publication: Publication) -> list[str]:
    """
    Return the licences of the images as identifiers of the Hub, sorted.

    The licence of each record counts, so that a source with files of different licences has several.
    """
    words = publication.table["licence"].unique().to_pylist()
    return sorted({_identifier(text) for text in words})


def metadata(publication: Publication) -> dict[str, Any]:
    """Return licences, configurations, splits and features, so that a reader need not infer them."""
    samples = publication.table.num_rows
    types = sorted(publication.table["degradation"].unique().to_pylist())
    document: dict[str, Any] = {
        "pretty_name": publication.title,
        "license": licence_identifiers(publication),
        "task_categories": ["image-to-image"],
        "tags": ["image-restoration", "webdataset", "croissant", *types],
        "size_categories": [next((name for limit, name in _SIZES if samples < limit), "n>1T")],
    }
    if publication.recipes_only:
        files = [{"split": "train", "path": f"{MANIFEST}/*.parquet"}]
        return {**document, "configs": [{"config_name": RECIPES, "data_files": files}]}
    configs, infos = [], []
    for number, configuration in enumerate(publication.configurations):
        shards = [
            {"split": name, "path": [_data_file(publication, pattern) for pattern in split.patterns]}
            for name, split in configuration.splits.items()
        ]
        entry: dict[str, Any] = {"config_name": configuration.name, "data_files": shards}
        if number == 0:
            entry["default"] = True
        if publication.tables and configuration.filters:
            entry["filters"] = configuration.filters
        configs.append(entry)
        infos.append(_information(publication, configuration))
    return {**document, "configs": configs, "dataset_info": infos}


def _data_file(publication: Publication, pattern: str) -> str:
    """Return the pattern that `load_dataset` reads for some tars: their tables, if there are any."""
    return f"{TABLES}/{pattern.removesuffix('.tar')}-*.parquet" if publication.tables else pattern


def _information(publication: Publication, configuration: Configuration) -> dict[str, Any]:
    if publication.tables:
        return _table_information(configuration)
    codec = publication.info["codec"]
    record = _record_features(configuration)
    if publication.lazy:
        record.append({"name": "samples", "list": _record_features(configuration)})
    features: list[dict[str, Any]] = [
        {"name": f"gt.{codec}", "dtype": "image"},
        {"name": f"lq.{codec}", "dtype": "image"},
        {"name": "json", "struct": record},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    found: dict[str, Any] = {"config_name": configuration.name, "features": features}
    if not publication.lazy:  # in lazy shards one member of a tar belongs to several samples
        found["splits"] = [
            {"name": name, "num_bytes": split.size_bytes, "num_examples": split.samples}
            for name, split in configuration.splits.items()
        ]
    return found


def _table_information(configuration: Configuration) -> dict[str, Any]:
    inside = bool(configuration.filters)
    return {
        "config_name": configuration.name,
        "features": [
            *({"name": name, "dtype": "image"} for name in IMAGES),
            {"name": "label", **_class_label(configuration)},
            *({"name": name, "dtype": _YAML_TYPES[str(Record.__dataclass_fields__[name].type)]} for name in FACTS),
        ],
        "splits": [
            {
                "name": name,
                "num_bytes": split.inside_bytes if inside else split.size_bytes,
                "num_examples": split.samples - split.outside if inside else split.samples,
            }
            for name, split in configuration.splits.items()
        ],
    }


def _class_label(configuration: Configuration) -> dict[str, Any]:
    names = {str(label): kind for label, kind in enumerate(configuration.types)}
    return {"dtype": {"class_label": {"names": names}}}


def _record_features(configuration: Configuration) -> list[dict[str, Any]]:
    types = {field.name: _YAML_TYPES[str(field.type)] for field in fields(Record)}
    found: list[dict[str, Any]] = []
    for name in IN_TAR:
        if name == "degradation":
            found.append({"name": name, **_class_label(configuration)})
        else:
            found.append({"name": name, "dtype": types[name]})
    return found


def _identifier(words: str) -> str:
    for pattern, identifier in _IDENTIFIERS:
        if re.match(pattern, words.strip().lower()):
            return identifier
    return "other"
