"""``make rig``: Shoal on SkyPilot's own pool, through a burst, a lost machine, 'pool scale 0' and
restarts of SkyPilot's API server and of the controller. Prints its times, writes the session down.

Runs in the environment of the rig (``rig.sh env``) with SkyPilot's Python.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from shoal.model.job import State
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import get_settings
from tests.skypilot.session import Session, running

RIG = Path(os.environ["RIG"])
CHECKOUT = Path(__file__).parents[2]
RUN = f"{time.time():.0f}"  # names its videos: the bucket may have those of earlier runs
CAP = 3
BURST, LATER = 5, 3  # videos
IDLE_EXIT_S = "30"
FIRST = os.environ.get("PASS", "1") == "1"
LIMIT_S = 3600.0  # four times what it takes on a machine that has nothing else to do


class Failed(Exception):
    """A check of the scenario did not hold."""


def wait(what: str, holds: Callable[[], bool], seconds: float = 1200) -> float:
    """Seconds until it holds.

    Raises:
        Failed: it does not for too long.
    """
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > seconds:
            raise Failed(f"not within {seconds:g} s: {what}")
        time.sleep(1)
    took = time.monotonic() - started
    print(f"{took:6.0f} s  {what}", flush=True)
    return took


def command(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(arguments)}: {done.stderr}")
    return done.stdout


@contextmanager
def controller(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A controller, with its log in the rig's folder."""
    with (RIG / "log" / "controller.log").open("ab") as log:
        process = subprocess.Popen(
            arguments,
            stdout=log,
            stderr=log,
            env=os.environ | {"SHOAL_SCALE_CAP": str(CAP), "SHOAL_SCALE_IDLE_EXIT_S": IDLE_EXIT_S},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def submit(numbers: range, clip: Path) -> None:
    bucket = f"{os.environ['AWS_ENDPOINT_URL_S3']}/bucket"
    httpx.put(bucket)
    keys = [f"{RUN}/{number}.mp4" for number in numbers]
    for key in keys:
        httpx.put(f"{bucket}/{key}", content=clip.read_bytes()).raise_for_status()
    uris = [f"s3://bucket/{key}" for key in keys]
    command("shoal", "submit", *uris, "--prompt", "person", "--sample-fps", "0")


def scenario(queue: JobQueue, session: Session, clip: Path) -> dict[str, float]:
    """The figures of the table, in seconds."""
    figures: dict[str, float] = {}
    earlier = queue.depth().jobs

    def done() -> int:
        return queue.depth().jobs[State.SUCCEEDED] - earlier[State.SUCCEEDED]

    with controller("shoal", "pool", "up", "--max-workers", str(CAP)):
        wait("pool", lambda: session.pool_exists, 180)
        submit(range(BURST), clip)
        submitted = session.now
        figures["submit to first video"] = wait("first video", lambda: queue.depth().running > 0)
        wait("a second video", lambda: queue.depth().running > 1)
        figures["boot of a machine"] = session.first_boot_s
        figures |= lose_a_machine(queue, session)
        wait("half of the burst", lambda: done() >= BURST // 2)
        submit(range(BURST, BURST + LATER), clip)
        command("shoal", "pool", "scale", "0")
        figures["scale 0 to no consumer"] = wait("all drained", lambda: session.consumers == 0)
        left, finished = queue.depth().queued, done()
        if not left:
            raise Failed("no video was left waiting: the scenario shows nothing")
        time.sleep(45)
        if (queue.depth().queued, done()) != (left, finished):
            raise Failed("a video was taken after all had drained")
    command("sky", "api", "stop")
    command("sky", "api", "start", "--host", "127.0.0.1")
    command("shoal", "pool", "scale", str(CAP))
    with controller(os.environ["SHOAL_AUTOSCALER"], "run"):
        figures["restart to next video"] = wait("next video", lambda: queue.depth().running > 0)
        wait("all videos", lambda: done() == BURST + LATER)
        figures["submit to all done"] = session.now - submitted
        wait("no consumer", lambda: session.consumers == 0)
        if FIRST:  # pool.yaml's delay, which nothing hurries: minutes
            figures["last consumer to no machine"] = wait(
                "no machine", lambda: not session.machines
            )
    command("shoal", "pool", "down")
    if queue.depth().jobs[State.FAILED] > earlier[State.FAILED]:
        raise Failed("a video failed")
    return figures


def lose_a_machine(queue: JobQueue, session: Session) -> dict[str, float]:
    """End the Slurm job of one that has a video, as a cloud takes a spot machine away."""
    before = set(running(queue))
    rows = command("squeue", "--noheader", "--states=RUNNING", "--format=%i %j").splitlines()
    victim = session.busy_machine()
    number = next(row.split()[0] for row in rows if f"-{victim}-" in row)
    command("scancel", number)
    print(f"machine {victim} is gone (Slurm's job {number})", flush=True)
    lost = wait("its video is in the queue", lambda: len(running(queue)) < len(before), 180)
    ids = before - set(running(queue))
    resumed = wait(
        "its video goes on",
        lambda: bool(ids & set(running(queue))),
    )
    return {"lost machine to requeued": lost, "requeued to resumed": resumed}


def main() -> None:
    settings = get_settings()
    queue = open_queue(settings, connect(settings))
    clip = Path(os.environ.get("CLIP", CHECKOUT / "demo" / "bikes.mp4"))
    httpx.get(f"{os.environ['SHOAL_API_URL']}/readyz").raise_for_status()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(Failed("too long")))
    signal.alarm(int(LIMIT_S))
    with Session(Path(os.environ["HOME"]) / ".sky", queue) as session:
        try:
            figures = scenario(queue, session, clip)
        finally:
            signal.alarm(0)
            session.write(RIG / "session.json")
    for name, seconds in figures.items():
        print(f"{seconds:6.0f} s  {name}")
    ended = session.ended_in_use()
    print(f"\nmachines ended with a consumer, or with work waiting for them: {len(ended)}")
    for line in ended:
        print(f"  {line}")
    (RIG / "figures.json").write_text(json.dumps(figures, indent=1))
    sys.exit(1 if ended else 0)


if __name__ == "__main__":
    main()
