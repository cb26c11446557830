"""How much lies where: uploads, results and segments, location by location."""

from __future__ import annotations

from contextlib import suppress

from shoal.client.schemas import StorageReport, StorageUse
from shoal.errors import ShoalError, SourceNotFound
from shoal.ingest.rules import Rules
from shoal.settings import Settings
from shoal.storage import storage_for

SEGMENTS, UPLOADS = "/.parts/", "/.uploads/"  # in the bucket of the results


def measure(rules: Rules, settings: Settings) -> StorageReport:
    """List all locations. One that cannot be listed is named with the reason."""
    report = StorageReport(items=[], unreadable={})
    places = [(settings.uploads_dir.as_uri(), "uploads")]
    if settings.data_dir.is_dir() and not settings.uploads_dir.is_dir():
        places.clear()  # there was no upload yet
    places += [(root.rstrip("/"), "results") for root in rules.results_roots()]
    for where, what in places:
        try:
            report.items += _uses(f"{where}/", what, settings)
        except ShoalError as error:
            report.unreadable[f"{where}/"] = str(error)
    return report


def _uses(where: str, what: str, settings: Settings) -> list[StorageUse]:
    uses = {what: StorageUse(where=where, what=what)}
    with suppress(SourceNotFound):  # nothing was written yet
        for info in storage_for(where, settings).list(where):
            below = info.uri.removeprefix(where[:-1])
            kind = "segments" if SEGMENTS in below else what
            kind = "uploads" if below.startswith(UPLOADS) else kind
            use = uses.setdefault(kind, StorageUse(where=where, what=kind))
            use.files += 1
            use.bytes += info.size
    return list(uses.values())
