"""One round of a storm: a plan is carried out, then all is calm, and what is left is judged."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.model.job import JobSpec, Options, State
from shoal.queue.batches import Batches
from tests.chaos.storm.evidence import Content, gather
from tests.chaos.storm.faults import fault
from tests.chaos.storm.invariants import Violation, violations
from tests.chaos.storm.ledger import Entry, Ledger
from tests.chaos.storm.plan import Plan, Step, Video
from tests.chaos.storm.proxy import Network
from tests.chaos.storm.system import WAIT_S, Stores, System
from tests.chaos.storm.users import OPTIONS, Users

USERS = 8  # at once
CALM = Step(0, "calm", "user")
TRIES = 6  # of a submission in the calm: on a busy machine a storage may answer late
FAULT = re.compile(r"[0-9:]{8} ERROR .*Traceback|Exception in thread")  # what has no name
TURNS = 6  # of retrying what failed while it stormed
Clips = Mapping[int, Path]
Reference = Mapping[tuple[int, tuple[str, ...]], Content]


@dataclass
class Outcome:
    """What a round came to.

    Attributes:
        faults: how often there was each kind; of a link with the server that it led to.
        requests: of users, by what came of them.
        states: of videos, in the end.
        failures: of attempts, by code.
    """

    plan: Plan
    faults: Counter[str]
    requests: Counter[str]
    states: Counter[str]
    attempts: Counter[str]
    failures: Counter[str]
    webhooks: int
    seconds: float
    violations: list[Violation]


class Round:
    """Everything of one plan."""

    def __init__(
        self, plan: Plan, folder: Path, network: Network, found: Stores, names: list[str]
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.system = System(folder, network, found, plan.results, names)
        self.faults: Counter[str] = Counter()
        self.events: list[str] = []
        self._lanes = {step.target: threading.Lock() for step in plan.steps}

    def run(self, clips: Clips, reference: Reference) -> Outcome:
        """
        Args:
            reference: what an undisturbed run gives, by clip and prompts.
        """
        began = time.monotonic()
        ledger = Ledger([self._entry(video, clips[video.clip]) for video in self.plan.videos])
        users = Users(self.system, ledger)
        self.system.wait_ready()
        self._storm(users)
        self._calm(users)
        self._stop()
        system = self.system
        work = self.folder / "evidence"
        found = gather(system.queue, system.receiver, system.settings, work)
        found.events += self.events + system.made_anew + self._faults()
        found.left += [each for member in system.members.values() for each in member.left()]
        found.left += [str(path) for path in system.settings.work_dir.glob("*")]
        wanted = {
            entry.job: reference[entry.video.clip, entry.video.prompts] for entry in ledger.entries
        }
        attempts = [each for some in found.attempts.values() for each in some]
        return Outcome(
            plan=self.plan,
            faults=self.faults,
            requests=ledger.outcomes,
            states=Counter(record.state.value for record in found.records.values()),
            attempts=Counter(each.outcome for each in attempts),
            failures=Counter(each.error.code for each in attempts if each.error),
            webhooks=len(found.messages),
            seconds=time.monotonic() - began,
            violations=violations(found, ledger, wanted),
        )

    def _entry(self, video: Video, clip: Path) -> Entry:
        uri = self.system.upload(video, clip)
        info = self.system.storage(uri).stat(uri)
        spec = JobSpec(
            uri=info.uri,
            version=info.version,
            size=info.size,
            prompts=video.prompts,
            options=Options(**OPTIONS),
            results="file:///anywhere",  # no part of what makes an id
        )
        return Entry(video, info.uri, spec.id)

    def _faults(self) -> list[str]:
        """What processes logged that they did not expect."""
        logs = sorted(self.system.processes.log_dir.glob("*.log"))
        lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
        return [line[:500] for line in lines if FAULT.match(line)]

    # --- the storm -------------------------------------------------------------------------------

    def _storm(self, users: Users) -> None:
        start = time.monotonic()
        doing: list[Future[None]] = []
        with ThreadPoolExecutor(USERS) as people, ThreadPoolExecutor(len(self._lanes)) as nature:
            for step in self.plan.steps:
                time.sleep(max(0.0, start + step.at_s - time.monotonic()))
                if step.target == "user":
                    doing.append(people.submit(users.act, step, users.begin(step)))
                else:
                    doing.append(nature.submit(self._fault, step))
        for each in doing:
            each.result()

    def _fault(self, step: Step) -> None:
        with self._lanes[step.target]:
            with fault(self.system, step):
                time.sleep(step.seconds)
            words = step.target.split()
            where = f"{words[2]} " if words[0] == "link" else ""
            self.faults[f"{where}{step.kind}"] += 1

    # --- afterwards ------------------------------------------------------------------------------

    def _calm(self, users: Users) -> None:
        """Nothing goes wrong any more: clients repeat what was not answered, and retry failures."""
        self.system.network.heal()
        for member in self.system.members.values():
            member.check()
        queue, ledger = self.system.queue, users.ledger
        self._wait(self._apis_answer, "the APIs to answer")
        queue.resume()
        for entry in ledger.entries:
            if entry.asked and not entry.accepted and (said := _insist(users, entry)) != "done":
                self.events.append(f"a submission of {entry.job} in the calm: {said}")
        for turn in range(TURNS):
            self._wait(self._is_over, "all videos to end")
            failed = [job for job in queue.records.page(limit=1000)[0] if job.state == State.FAILED]
            if not failed or turn == TURNS - 1:
                break
            for record in failed:
                queue.retry(record.id)
        self._wait(self._all_told, "all webhooks to be told")
        self._wait(self._all_clean, "all segments to be removed")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        """As long as attempts end meanwhile. What never comes is one more thing to report; the rest
        is judged all the same."""
        deadline, ended = time.monotonic() + WAIT_S, self._attempts()
        while not condition():
            if self._attempts() != ended:
                deadline, ended = time.monotonic() + WAIT_S, self._attempts()
            if time.monotonic() > deadline:
                self.events.append(f"waited {WAIT_S:.0f} s in vain for {what}")
                return
            time.sleep(0.2)

    def _attempts(self) -> float:
        totals = self.system.queue.records.totals.read()
        return sum(n for name, n in totals.items() if name.startswith("attempts:"))

    def _apis_answer(self) -> bool:
        return all(api.is_ready() for api in self.system.apis)

    def _is_over(self) -> bool:
        queue = self.system.queue
        counts = queue.records.counts()
        return not (counts[State.QUEUED] or counts[State.RUNNING] or Batches(queue).open())

    def _all_told(self) -> bool:
        """Time goes by quickly: what waits for its next try is due."""
        return self._hurry(self.system.queue.callbacks.due_key)

    def _all_clean(self) -> bool:
        return self._hurry(self.system.queue.cleanup.key)

    def _hurry(self, key: str) -> bool:
        redis = self.system.redis
        members: Any = redis.zrange(key, 0, -1)
        for member in members:
            redis.zadd(key, {member: 1}, xx=True)
        return not redis.exists(key)

    def _stop(self) -> None:
        """All are told to go: workers first."""
        for member in (*self.system.workers, *self.system.apis):
            member.check()
            member.terminate()
            if member.process.returncode:
                self.events.append(f"{member.name} left with {member.process.returncode}")
            self.events += member.ends


def _insist(users: Users, entry: Entry) -> str:
    """Submit; what has no answer, or one that says so, is asked for again, as by any client."""
    for _ in range(TRIES):
        said = users.submit(entry, CALM)
        if said != "no answer" and not said.startswith("503 "):
            break
        time.sleep(0.5)
    return said
