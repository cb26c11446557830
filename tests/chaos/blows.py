"""What may happen to a worker, its Redis and its storage."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.chaos.stages import OF_PARENT
from tests.running import eventually

if TYPE_CHECKING:
    from tests.chaos.scenario import Scenario


def kill_model(scene: Scenario) -> None:
    """The model process is killed; its parent starts a fresh one. Both workers may go on."""
    scene.model.kill()
    scene.rescue(by_both=True)


def kill_parent(scene: Scenario) -> None:
    """The parent is killed, and its model process dies with it."""
    scene.victim.process.kill()
    scene.rescue()


def kill_both(scene: Scenario) -> None:
    """The machine is gone: both processes at once, in any order."""
    for process in scene.chance.sample([scene.victim.parent, scene.model], 2):
        process.kill()
    scene.rescue()


def terminate(scene: Scenario) -> None:
    """A spot notice. The model process goes on in time, or hangs until the grace is over."""
    scene.victim.process.terminate()
    if scene.stage in OF_PARENT or scene.chance.random() < 0.75:
        scene.plan.release()
    scene.rescue()
    eventually(lambda: not scene.victim.alive, "the worker to leave", scene.patience_s)
    assert scene.victim.process.returncode == 0, "the worker did not leave in order"


def freeze(scene: Scenario) -> None:
    """Both processes stand still for longer than a lease, and wake when it is another's job."""
    both = [scene.victim.parent, scene.model]
    for process in both:
        process.send_signal(signal.SIGSTOP)
    scene.rescue()
    scene.wait_taken_over()
    if scene.chance.random() < 0.5:
        scene.wait_ended()
    scene.plan.release()
    for process in both:
        process.send_signal(signal.SIGCONT)


def restart_valkey(scene: Scenario) -> None:
    """Valkey is killed and comes back; the worker gets to its next step before or after that."""
    scene.stack.wait_durable()
    scene.stack.kill_valkey()
    if scene.chance.random() < 0.5:
        scene.plan.release()
    time.sleep(scene.chance.uniform(0.1, 1.0))  # so long it is away: not waiting for anything
    scene.stack.start_valkey()
    scene.plan.release()
    scene.rescue(by_both=True)


def fail_storage(scene: Scenario) -> None:
    """The disk is full, or the storage refuses everything, until an attempt has ended with that."""
    if scene.chance.random() < 0.5:
        _fill_disk(scene)
    else:
        _refuse(scene)


def _fill_disk(scene: Scenario) -> None:
    """No file of the model process may grow: the kernel's own error, as a full disk gives it."""
    pid = scene.model.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    scene.plan.release()
    scene.wait_attempt_ended()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    scene.rescue()


def _refuse(scene: Scenario) -> None:
    """Where the bucket was there is something else."""
    scene.refused = True
    bucket = scene.stack.bucket
    away = bucket.with_name("bucket-away")
    bucket.rename(away)
    bucket.touch()
    scene.plan.release()
    scene.wait_attempt_ended()
    bucket.unlink()
    away.rename(bucket)
    scene.rescue()


def take_root_away(scene: Scenario) -> None:
    """The folder behind file:// is away for a moment, as a disk that is mounted anew: the video
    goes on by itself, and nobody makes the folder meanwhile."""
    scene.refused = True
    bucket = scene.stack.bucket
    away = bucket.with_name("bucket-away")
    bucket.rename(away)
    scene.plan.release()
    scene.wait_attempt_ended()
    assert not bucket.exists(), "the root was made anew"
    away.rename(bucket)
    scene.rescue()


BLOWS: dict[str, Callable[[Scenario], None]] = {
    "SIGKILL model": kill_model,
    "SIGKILL parent": kill_parent,
    "SIGKILL both": kill_both,
    "SIGTERM": terminate,
    "SIGSTOP, SIGCONT": freeze,
    "Valkey restart": restart_valkey,
    "storage fails": fail_storage,
    "root away": take_root_away,
}


def cells(stages: list[str], count: int) -> list[tuple[str, str]]:
    """``count`` pairs of blow and stage; each stretch of 70 has all of them, any stretch covers
    stages and blows evenly."""
    names = list(BLOWS)
    return [
        (names[(k % 70 + k % 70 // len(stages)) % len(names)], stages[k % len(stages)])
        for k in range(count)
    ]
