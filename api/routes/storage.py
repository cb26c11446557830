"""``GET /storage``: what lies where, and how much."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.deps import ADMIN, RulesDep, SettingsDep
from api.examples import shown
from shoal.client.schemas import StorageReport
from shoal.retention.usage import measure

router = APIRouter(tags=["storage"])


@router.get(
    "/storage",
    dependencies=[ADMIN],
    responses=shown(200, "What is stored at each location.", examples.STORAGE),
)
def storage(rules: RulesDep, settings: SettingsDep) -> StorageReport:
    """Get the number and size of stored uploads, results and segments by location.

    All locations are listed, so this takes minutes for millions of files.
    """
    return measure(rules.current(), settings)
