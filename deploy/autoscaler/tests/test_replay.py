"""SkyPilot's own pool autoscaler over a recorded session: why the delay of pool.yaml is so long."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
from conftest import FILES
from sky.serve import autoscalers, service_spec

from autoscaler.deployment import read_yaml

SESSION = Path(__file__).parents[3] / "tests" / "skypilot" / "recorded.json"
INTERVAL_S = 20


def targets(delay_s: int) -> list[tuple[int, int, int]]:
    """By time: the pool's target, and the machines that boot or are free."""
    moments = json.loads(SESSION.read_text())
    pool = read_yaml(FILES / "pool.yaml")["pool"] | {"downscale_delay_seconds": delay_s}
    spec = service_spec.SkyServiceSpec.from_yaml_config({"pool": pool})
    scaler = autoscalers.Autoscaler.from_spec("shoal", spec)
    found = []
    for t in range(0, moments[-1]["t"], INTERVAL_S):
        moment = [each for each in moments if each["t"] <= t][-1]
        pending = sum(status == "PENDING" for _, status, _ in moment["jobs"])
        with mock.patch.object(
            autoscalers.managed_job_state, "get_pending_jobs_count_by_pool", return_value=pending
        ):
            scaler._set_target_num_replicas_with_hysteresis()
        booting = sum(s in ("PROVISIONING", "STARTING") for _, s in moment["machines"])
        found.append((t, scaler.target_num_replicas, booting))
    return found


def test_a_minute_is_too_short() -> None:
    """Two consumers got machines at once, and the controller needed 80 s for the next: meanwhile
    the pool let go of the machines that booted."""
    assert any(target == 0 and booting for _, target, booting in targets(60))


def test_the_delay_of_the_files_holds_what_boots() -> None:
    delay = read_yaml(FILES / "pool.yaml")["pool"]["downscale_delay_seconds"]
    assert not any(target == 0 and booting for _, target, booting in targets(delay))


@pytest.mark.parametrize("delay_s", [60, 300])
def test_blinks_do_not_end_a_wait(delay_s: int) -> None:
    assert all(target > 0 for t, target, _ in targets(delay_s) if 60 <= t <= 200)
