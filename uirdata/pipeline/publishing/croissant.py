"""croissant.json: the metadata for programs that search and check data sets (MLCommons Croissant 1.0)."""

from __future__ import annotations

from typing import Any

from uirdata.pipeline.publishing.publication import TABLES, Publication
from uirdata.records import RECORD_FIELDS, Record
from uirdata.storage.shards import MANIFEST
from uirdata.transfer import redacted

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_TYPES = {"str": "sc:Text", "int": "sc:Integer", "bool": "sc:Boolean"}

_NO_HASH = "https://github.com/mlcommons/croissant/issues/80"
"""Placeholder for the hash of a whole repository, which has none."""


def croissant(publication: Publication, *, description: str, endpoint: str, licences: list[str]) -> dict[str, Any]:
    """
    Return the Croissant document of a publication: each shard with its sha256, and the record of a sample.

    Args:
        publication: what is published.
        description: a description in one sentence.
        endpoint: URL of the Hub.
        licences: licences of the images.
    """
    url = f"{redacted(endpoint)}/datasets/{publication.repository}"
    shards = (
        []
        if publication.recipes_only
        else [_shard(state.path, state.sha256, state.size, url) for state in publication.shards]
    )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": publication.title,
        "description": description,
        "url": url,
        "license": licences,
        "citeAs": "; ".join(source.citation for source in publication.sources.values() if source.citation),
        "version": str(publication.info.get("format", 1)) + ".0.0",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "repository",
                "name": "repository",
                "description": "All files.",
                "contentUrl": url,
                "encodingFormat": "git+https",
                "sha256": _NO_HASH,
            },
            {
                "@type": "cr:FileSet",
                "@id": "manifest",
                "name": "manifest",
                "description": "One row for each sample.",
                "containedIn": {"@id": "repository"},
                "encodingFormat": "application/x-parquet",
                "includes": f"{MANIFEST}/*.parquet",
            },
            *([_tables()] if publication.tables else []),
            *shards,
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "description": "The record of each sample. The bytes of its images are in `shard`, at the offsets.",
                "key": {"@id": "samples/key"},
                "field": [_field(name) for name in RECORD_FIELDS],
            }
        ],
    }


def _tables() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": "tables",
        "name": "tables",
        "description": "A copy of each shard as a table, with its images in the rows.",
        "containedIn": {"@id": "repository"},
        "encodingFormat": "application/x-parquet",
        "includes": f"{TABLES}/*/*/*.parquet",
    }


def _shard(path: str, sha256: str, size: int, url: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": f"{url}/resolve/main/{path}",
        "contentSize": f"{size} B",
        "encodingFormat": "application/x-tar",
        "sha256": sha256,
    }


def _field(name: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"samples/{name}",
        "name": name,
        "dataType": _TYPES[str(Record.__dataclass_fields__[name].type)],
        "source": {"fileSet": {"@id": "manifest"}, "extract": {"column": name}},
    }
