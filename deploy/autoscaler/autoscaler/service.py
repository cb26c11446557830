"""The controller as a process: made from settings, and run until a signal."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace
from types import FrameType

from prometheus_client import start_http_server

from autoscaler.controller import Controller
from autoscaler.deployment import Deployment, read_secrets
from autoscaler.launchers.base import Launcher
from autoscaler.launchers.local import LocalLauncher, worker_command
from autoscaler.settings import ScaleSettings
from shoal import logging as logs
from shoal.queue.connection import connect
from shoal.queue.queue import open_queue
from shoal.settings import get_settings


def serve(scale: ScaleSettings, deployment: Deployment | None = None) -> None:
    """Decide until a signal."""
    logs.setup()
    settings = get_settings()
    made = make_launcher(scale, deployment)
    queue = open_queue(settings, connect(settings, attempts_s=60))
    controller = Controller(queue, made, scale)
    if scale.metrics_port:
        start_http_server(
            scale.metrics_port, addr=scale.metrics_host, registry=controller.journal.registry
        )
    controller.run(stop_on_signal())


def make_launcher(scale: ScaleSettings, deployment: Deployment | None) -> Launcher:
    """
    Raises:
        DeploymentError: a secret is missing, or a file.
    """
    settings = get_settings()
    if scale.launcher == "local":
        return LocalLauncher(
            worker_command(scale.worker),
            settings.data_dir / "autoscaler" / socket.gethostname() / settings.queue,
            idle_exit_s=scale.idle_exit_s,
            grace_s=settings.grace_s,
        )
    from autoscaler.launchers.skypilot import SkyLauncher
    from autoscaler.preflight import load_sdk

    deployment = replace(
        deployment or Deployment.of(settings, scale), price_per_hour=scale.price_per_hour
    )
    consumer, secrets, sdk = deployment.consumer(), read_secrets(deployment), load_sdk()
    sdk.task(consumer, secrets)
    return SkyLauncher(
        consumer, secrets, pool=deployment.pool_name, job_name=deployment.job_name, sdk=sdk
    )


def stop_on_signal() -> threading.Event:
    """Set by SIGINT and SIGTERM; the second one ends the process, whatever it waits for."""
    stop = threading.Event()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + signum)
        stop.set()

    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, on_signal)
    return stop
