"""The Shoal that a storm goes over: real processes, each behind links of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from redis import Redis

from shoal.local.valkey import find_server
from shoal.queue.connection import connect
from shoal.queue.queue import open_queue
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.base import Storage
from tests import buckets
from tests.chaos.storm.plan import SCHEMES, Video
from tests.chaos.storm.proxy import Link, Network
from tests.ports import free_port
from tests.receiver import Receiver
from tests.running import ROOT, Processes, descendants, eventually, is_over

SITE = Path(__file__).parent / "site"
SECRET = "whsec_" + "QUJDRA" * 6
GRACE_S = 10.0  # an idle worker that stands still for some seconds leaves in order
LEASE_S = 4.0
SLACK_S = 15.0  # that a busy machine may add to a promised time
WAIT_S = 120.0


class Valkey:
    """A server without a proxy; what it was told in time is there after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes]
        folder.mkdir()
        self.start()

    def start(self) -> None:
        command = [str(find_server()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--appendonly", "yes", "--save", ""]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        connect(Settings(redis_url=self.url), attempts_s=WAIT_S).close()

    def stop(self) -> None:
        """In order: all that was answered is on disk."""
        self.process.terminate()
        self.process.wait(WAIT_S)


class Member:
    """One API or worker: a name, links, and the process that has them for now.

    Attributes:
        down: whether it is meant to be away.
        ends: how processes ended that no fault had ended, or that took too long.
    """

    def __init__(self, name: str, system: System) -> None:
        self.name = name
        self.kind = name.partition("-")[0]
        self.clock = system.folder / f"clock-{name}"
        self.redis = system.network.link(system.valkey.port)
        self.s3 = system.network.link(system.stores.ports["s3"])
        self.port = free_port() if self.kind == "api" else 0
        self.url = f"http://127.0.0.1:{self.port}"
        self.down = True
        self.ends: list[str] = []
        self.family: list[psutil.Process] = []
        self.log: Path
        self.process: subprocess.Popen[bytes]
        self._processes = system.processes
        self._system = system

    def start(self) -> None:
        env = {
            "SHOAL_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "SHOAL_STORM_CLOCK": str(self.clock),
            **self._system.stores.environment,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.s3.port}",
        }
        if self.kind == "api":
            env["SHOAL_API_PORT"] = str(self.port)
        with self._system.starting:
            number = len(self._processes.running)
            self.process = self._processes.start(self.kind, **env)
        self.log = self._processes.log_dir / f"{self.kind}-{number}.log"
        self.down = False

    def all(self) -> list[psutil.Process]:
        """The process and its children."""
        with suppress(psutil.NoSuchProcess):
            return [psutil.Process(self.process.pid), *descendants(self.process)]
        return []

    def send(self, sent: signal.Signals, *, children: bool = False) -> None:
        for process in self.all() if children else self.all()[:1]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sent)

    def is_ready(self) -> bool:
        """Whether an API answers, and has Redis."""
        try:
            return httpx.get(f"{self.url}/queue", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def terminate(self) -> None:
        """A spot notice. It must be gone after its grace, whatever hangs."""
        self.family += self.all()
        self.down = True
        self.process.terminate()
        try:
            self.process.wait(GRACE_S + SLACK_S)
        except subprocess.TimeoutExpired:
            self.ends.append(f"{self.name} was there {GRACE_S + SLACK_S:.0f} s after SIGTERM")
            self.kill()

    def kill(self) -> None:
        self.family += self.all()
        self.down = True
        self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """Note an end that nobody caused, and start it anew."""
        if not self.down and self.process.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
            self.ends.append(f"{self.name} ended by itself: {self.process.returncode}\n{tail}")
            self.start()

    def left(self) -> list[str]:
        """Processes of it that are there without their parents."""
        mine = set(self.all()) if not self.down else set()
        return [f"{p}" for p in self.family if p not in mine and p.is_running() and not is_over(p)]


class Stores:
    """Emulators of buckets, for all rounds of a storm.

    Attributes:
        environment: what leads a client to them, without a proxy but for that of Google's.
        google: its link, which all processes share: an emulator tells its clients one address.
    """

    def __init__(
        self, network: Network, s3: Mapping[str, str], gs: Mapping[str, str], at: int
    ) -> None:
        self.environment = {**gs, **s3}
        self.ports = {"s3": _port(s3["AWS_ENDPOINT_URL_S3"])}
        self.google = network.link(at, at=_port(gs["STORAGE_EMULATOR_HOST"]))


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextmanager
def stores(network: Network, folder: Path) -> Iterator[Stores]:
    """Started, and this process's clients lead to them."""
    own, public = free_port(), free_port()
    with buckets.amazon(folder) as s3, buckets.google(folder, own, public) as gs:
        found = Stores(network, s3, gs, own)
        before = dict(os.environ)
        os.environ.update(found.environment)
        buckets.forget_clients()
        try:
            yield found
        finally:
            buckets.forget_clients()
            os.environ.clear()
            os.environ.update(before)


class System:
    """Everything of one round, below ``folder``."""

    def __init__(
        self, folder: Path, network: Network, found: Stores, results: str, names: list[str]
    ) -> None:
        self.folder = folder
        self.network = network
        self.stores = found
        self.starting = threading.Lock()
        self.made_anew: list[str] = []  # what was found in the place of a root that was away
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.roots = {"file": self.data.as_uri()}
        self.roots |= {
            scheme: buckets.make_bucket(scheme) for scheme in SCHEMES if scheme != "file"
        }
        self.results = f"{self.roots[results]}/results"
        self.valkey = Valkey(folder / "valkey")
        self.settings = Settings(
            redis_url=self.valkey.url,
            data_dir=self.data,
            results=self.results,
            work_dir=folder / "work",
            beat_s=0.5,
            lease_s=LEASE_S,
            grace_s=GRACE_S,
            retry_pauses_s=(0.5, 1.0, 2.0),
        )
        self.redis: Redis = connect(self.settings)
        self.queue = open_queue(self.settings, self.redis)
        self.receiver = Receiver()
        self.processes = Processes(self.settings, self.queue, folder / "logs")
        self.processes.env |= {
            "PYTHONPATH": f"{SITE}:{ROOT}",
            "SHOAL_RESULTS": self.results,
            "SHOAL_ENGINE": "cpu",
            "SHOAL_PART_S": "0.5",
            "SHOAL_SWEEP_S": "0",
            "SHOAL_MODEL_ENV": "SHOAL_STORM_CLOCK",
            "SHOAL_CALLBACK_SECRET": SECRET,
            "SHOAL_CALLBACK_ALLOW": "127.0.0.0/8",
            "SHOAL_RATE_LIMIT": "0",
            "OMP_NUM_THREADS": "1",
        }
        self.members = {name: Member(name, self) for name in names}
        for member in self.members.values():
            member.start()

    @property
    def apis(self) -> list[Member]:
        return [each for each in self.members.values() if each.kind == "api"]

    @property
    def workers(self) -> list[Member]:
        return [each for each in self.members.values() if each.kind == "worker"]

    def storage(self, uri: str) -> Storage:
        return storage_for(uri, self.settings)

    def upload(self, video: Video, clip: Path) -> str:
        """Put a source where it belongs; its URI. All of one clip have the same pictures."""
        uri = f"{self.roots[video.scheme]}/videos/{video.name}.mp4"
        self.storage(uri).put(clip, uri, "video/mp4")
        return uri

    def link(self, process: str, server: str) -> Link:
        if server == "gs":
            return self.stores.google
        member = self.members[process]
        return member.redis if server == "redis" else member.s3

    def stop(self) -> None:
        """Kill what is there."""
        self.processes.stop()
        self.receiver.close()
        self.redis.close()
        self.valkey.process.kill()
        self.valkey.process.wait()

    def wait_ready(self) -> None:
        eventually(
            lambda: len(self.processes.idle_workers()) == len(self.workers),
            "the workers to load their models",
            WAIT_S,
        )
        eventually(lambda: all(api.is_ready() for api in self.apis), "the APIs to answer", WAIT_S)
