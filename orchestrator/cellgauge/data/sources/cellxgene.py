"""Datasets of CELLxGENE Discover, by their id: its API says where the newest version's file lies."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from cellgauge.data.sources import Fault, Head
from cellgauge.data.sources.https import Https

SCHEMES = ("cellxgene",)


def source(scheme: str, cellxgene: str) -> "Cellxgene":
    """Make the source."""
    return Cellxgene(cellxgene)


class Cellxgene:
    """cellxgene://DATASET_ID for the newest version, or cellxgene://DATASET_ID/DATASET_VERSION_ID.

    The API: https://api.cellxgene.cziscience.com/curation/ui/
    """

    def __init__(self, api: str, https: Https | None = None) -> None:
        self._api = api.rstrip("/")
        self._https = https or Https()

    def head(self, address: str) -> Head:
        parts = urlsplit(address)
        dataset, wanted = parts.netloc, parts.path.strip("/")
        try:
            versions = self._https.json(f"{self._api}/curation/v1/datasets/{quote(dataset, safe='')}/versions")
        except Fault as fault:
            hint = "Check the dataset's id: it stands in the address of its page on cellxgene.cziscience.com."
            message = f"CELLxGENE Discover was asked ({self._api}): {fault.message}"
            raise Fault(message, fault.hint if fault.passing else hint, passing=fault.passing) from fault
        version, asset = _asset(versions, wanted)
        found = self._https.head(asset["url"])
        return replace(found, address=asset["url"], version=version)

    def read(self, address: str, head: Head, start: int, stop: int | None) -> Iterator[bytes]:
        return self._https.read(head.address, head, start, stop)


def _asset(versions: Any, wanted: str) -> tuple[str, dict[str, Any]]:
    """Pick the h5ad of a version, the newest one unless another is wanted; the newest stands first."""
    try:
        for one in versions:
            if wanted in ("", one["dataset_version_id"]):
                for asset in one["assets"]:
                    if asset["filetype"] == "H5AD" and asset["url"].startswith(("https://", "http://")):
                        return str(one["dataset_version_id"]), asset
    except (TypeError, KeyError, AttributeError) as problem:
        raise Fault(
            "CELLxGENE Discover answers in a form that is not known", "Is there a newer cellgauge?"
        ) from problem
    which = f"has no version '{wanted}' with an h5ad" if wanted else "has no h5ad"
    raise Fault(f"this dataset of CELLxGENE Discover {which}", "Look at its page on cellxgene.cziscience.com.")
