"""The hosts: the only network connections of the data side. One file per host; add new ones to the list below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from uirdata.hosts.base import Host, Listed
from uirdata.hosts.google_drive import GoogleDrive
from uirdata.hosts.http import Http
from uirdata.hosts.huggingface import HuggingFace
from uirdata.hosts.kaggle import Kaggle
from uirdata.hosts.manual import Manual
from uirdata.hosts.objects import Objects
from uirdata.hosts.package import Package
from uirdata.hosts.web import WebClient

HOSTS: Mapping[str, Callable[[WebClient], Host]] = MappingProxyType(
    {
        "http": Http,
        "huggingface": HuggingFace,
        "google_drive": GoogleDrive,
        "kaggle": Kaggle,
        "package": lambda _: Package(),
        "objects": lambda _: Objects(),
        "manual": lambda _: Manual(),
    }
)
"""All host modules by the name that manifests use."""

__all__ = ["HOSTS", "Host", "Listed", "WebClient", "open_hosts"]


def open_hosts(client: WebClient | None = None) -> Mapping[str, Host]:
    """Return all hosts by name; they share one client."""
    shared = client if client is not None else WebClient()
    return {name: make(shared) for name, make in HOSTS.items()}
