"""Tests against SkyPilot's own library, offline: in its environment, with price lists of our own.

The price lists (``catalogs/v8``) have SkyPilot's format and mostly made-up prices.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from unittest import mock

import pytest

# SkyPilot keeps everything below HOME, and looks there when it is imported.
HOME = Path(tempfile.mkdtemp(prefix="shoal-sky-"))
shutil.copytree(Path(__file__).parent / "catalogs", HOME / ".sky" / "catalogs")
os.environ |= {"HOME": str(HOME), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}

import pandas as pd  # noqa: E402
from sky import clouds  # noqa: E402

from autoscaler.preflight import load_sdk  # noqa: E402
from autoscaler.sdk import Sdk  # noqa: E402

FILES = Path(__file__).parents[2] / "skypilot"
ZONES = {f"eu{key}1-az{n}": f"eu-{region}-1{letter}"
         for key, region in (("c", "central"), ("w", "west"), ("n", "north"))
         for n, letter in ((1, "a"), (2, "b"))}  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing here may skip: the environment is made for it."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may skip: {report.longrepr}"
    return report


def pytest_sessionfinish() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def accounts() -> Iterator[None]:
    """Accounts with GCP and AWS, as far as the library asks for them."""
    zones = pd.DataFrame(ZONES.items(), columns=["AvailabilityZone", "AvailabilityZoneName"])
    enabled = [clouds.GCP(), clouds.AWS()]
    with (
        mock.patch("sky.check.get_cached_enabled_clouds_or_refresh", return_value=enabled),
        mock.patch("sky.check.check_capability"),
        mock.patch(
            "sky.clouds.utils.gcp_utils.list_reservations_for_instance_type_in_zone",
            return_value=[],
        ),
        mock.patch("sky.clouds.AWS.check_quota_available", return_value=True),
        mock.patch("sky.clouds.GCP.check_quota_available", return_value=True),
        mock.patch("sky.catalog.aws_catalog._get_az_mappings", return_value=zones),
    ):
        yield


@pytest.fixture
def sdk() -> Sdk:
    return load_sdk()
