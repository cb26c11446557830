"""The launcher's requests against the real library; nobody answers them here."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable

import pytest
import sky
from sky.jobs import state as job_state
from sky.jobs.client import sdk as jobs
from sky.schemas.api.responses import ManagedJobRecord
from sky.serve import serve_state
from sky.serve.constants import AUTOSCALER_DEFAULT_DECISION_INTERVAL_SECONDS

from autoscaler.launchers import skypilot
from autoscaler.sdk import Sdk
from shoal.errors import LauncherUnavailable
from tests import fake_sky


def parameters(function: Callable[..., object]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


@pytest.mark.parametrize("name", ["pool_status", "queue_v2", "launch", "cancel"])
def test_the_stand_in_has_the_parameters_of_the_real_one(name: str) -> None:
    ours = parameters(getattr(fake_sky.FakeSky, f"_{name}"))
    assert ours <= parameters(getattr(jobs, name))
    assert getattr(sky.jobs, name) is getattr(jobs, name)


def test_the_stand_in_makes_tasks_as_the_real_one_does() -> None:
    assert parameters(fake_sky._from_yaml_config) <= parameters(sky.Task.from_yaml_config)


def test_names_of_states_and_fields() -> None:
    replicas = serve_state.ReplicaStatus
    names = {status.value for status in replicas}
    assert names >= skypilot.ALIVE
    assert names >= skypilot.FAILED
    assert {status.value for status in replicas.terminal_statuses()} & skypilot.ALIVE == set()
    jobs_states = {status.value for status in job_state.ManagedJobStatus}
    assert jobs_states >= skypilot.STATES
    assert jobs_states >= fake_sky.FINISHED
    assert fake_sky.ALIVE == skypilot.ALIVE
    assert set(skypilot.FAILED_JOBS) <= {
        s.value for s in job_state.ManagedJobStatus.failure_statuses()
    }
    assert set(skypilot.FIELDS) <= ManagedJobRecord.model_fields.keys()
    assert hasattr(sky.exceptions, fake_sky.ClusterNotUpError.__name__)


def test_the_pool_decides_as_often_as_the_stand_in() -> None:
    assert AUTOSCALER_DEFAULT_DECISION_INTERVAL_SECONDS == fake_sky.DECIDE_S


def test_no_api_server(monkeypatch: pytest.MonkeyPatch, sdk: Sdk) -> None:
    monkeypatch.setenv("SKYPILOT_API_SERVER_ENDPOINT", "http://127.0.0.1:9")
    launcher = skypilot.SkyLauncher({}, {}, pool="shoal", job_name="w", sdk=sdk)
    with pytest.raises(LauncherUnavailable, match="SkyPilot"):
        launcher.observe()


def test_a_server_that_never_answers() -> None:
    class Hangs:
        jobs = None

        def status(self) -> None:
            return None

        def get(self, request: None) -> None:
            time.sleep(3600)

    with pytest.raises(LauncherUnavailable, match="no answer within"):
        Sdk(Hangs(), call_s=0.1).ask("status")
