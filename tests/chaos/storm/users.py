"""What users do meanwhile, by HTTP, and what they remember of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx

from tests.chaos.storm.ledger import BatchEntry, Entry, Ledger, Wish
from tests.chaos.storm.plan import Step
from tests.chaos.storm.system import System

PATIENCE_S = 12.0  # of a user with a request
NOTHING = "nothing there"
OPTIONS: dict[str, Any] = {"sample_fps": 8}


class Users:
    """Carry out the steps of a plan that are theirs; any number of threads may."""

    def __init__(self, system: System, ledger: Ledger) -> None:
        self._system = system
        self.ledger = ledger
        self._fresh = list(ledger.entries)
        self._hooks = 0
        self._actions: dict[str, Callable[[Entry, Step], str]] = {
            "cancel": self._cancel,
            "retry": self._retry,
            "submit again": self.submit,
            "priority": self._prioritise,
        }
        self._of_batches: dict[str, Callable[[BatchEntry, Step], str]] = {
            "cancel batch": self._cancel_batch,
            "retry batch": self._retry_batch,
        }

    def begin(self, step: Step) -> Callable[[], str]:
        """What a user is about to do; called in the order of the plan, by one thread."""
        if step.kind == "submit":
            (entry,) = self._take(1)
            return lambda: self.submit(entry, step)
        if step.kind == "batch":
            entries = self._take(step.amount)
            return lambda: self.submit_batch(entries, step)
        if step.kind == "pause":
            return lambda: self._pause(step)
        if step.kind in self._of_batches:
            batches = [batch for batch in self.ledger.batches if batch.id]
            batch = batches[int(step.choice * len(batches))] if batches else None
            return lambda: self._of_batches[step.kind](batch, step) if batch else NOTHING
        known = [each for each in self.ledger.entries if each.accepted]
        about = known[int(step.choice * len(known))] if known else None
        return lambda: self._actions[step.kind](about, step) if about else NOTHING

    def act(self, step: Step, action: Callable[[], str]) -> None:
        self.ledger.count(f"{step.kind}: {action()}")

    def _take(self, count: int) -> list[Entry]:
        """Videos that were not submitted yet."""
        taken, self._fresh = self._fresh[:count], self._fresh[count:]
        return taken

    def _ask(
        self, step: Step, method: str, path: str, body: Any = None, entry: Entry | None = None
    ) -> httpx.Response | None:
        """The answer of one of the APIs; ``None`` where there was none.

        Args:
            entry: what the request wants to be done, if so.
        """
        apis = self._system.apis
        url = apis[int(step.choice * 997) % len(apis)].url + path
        answer = None
        with suppress(httpx.TransportError):
            answer = httpx.request(method, url, json=body, timeout=PATIENCE_S, trust_env=False)
        if entry:
            entry.in_doubt |= answer is None
            entry.wish = Wish.DONE if answer is not None and answer.is_success else Wish.UNSURE
        return answer

    def _hook(self, name: str) -> str:
        self._hooks += 1
        return f"http://127.0.0.1:{self._system.receiver.port}/{name}-{self._hooks}"

    # --- single videos ---------------------------------------------------------------------------

    def submit(self, entry: Entry, step: Step) -> str:
        with entry.lock:
            return self._submit(entry, step)

    def _submit(self, entry: Entry, step: Step) -> str:
        hook = self._hook(entry.video.name)
        body = {
            "uri": entry.uri,
            "prompts": entry.video.prompts,
            "options": OPTIONS,
            "callback": hook,
            "priority": ("high", "normal", "normal", "low")[int(step.choice * 4)],
        }
        entry.asked = entry.single = True
        before = entry.wish
        answer = self._ask(step, "POST", "/videos", body, entry)
        if answer is None or not answer.is_success:
            return told(answer)
        if answer.json()["cancel_requested"]:
            entry.wish = before  # it is being cancelled, and is not begun anew
        entry.accepted = True
        entry.hooks.append(hook)
        assert answer.json()["id"] == entry.job
        return told(answer)

    def _cancel(self, entry: Entry, step: Step) -> str:
        with entry.lock:
            before = entry.wish
            answer = self._ask(step, "DELETE", f"/videos/{entry.job}", None, entry)
            if answer is not None and answer.is_success:
                entry.wish = Wish.CANCELLED
                entry.cancelled_at_attempt = answer.json()["attempt"]
            elif answer is not None and answer.status_code == 409:
                entry.wish = before  # it has ended
            return told(answer)

    def _retry(self, entry: Entry, step: Step) -> str:
        with entry.lock:
            before = entry.wish
            answer = self._ask(step, "POST", f"/videos/{entry.job}/retry", None, entry)
            if answer is not None and answer.status_code == 409:
                entry.wish = before  # it has not ended, or well
            return told(answer)

    def _prioritise(self, entry: Entry, step: Step) -> str:
        level = ("front", "high", "normal", "low")[int(step.choice * 13) % 4]
        return told(self._ask(step, "POST", f"/videos/{entry.job}/priority", {"priority": level}))

    # --- batches ---------------------------------------------------------------------------------

    def submit_batch(self, entries: Sequence[Entry], step: Step) -> str:
        """As one of each pair of prompts, for a batch has one."""
        by_prompts: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            by_prompts.setdefault(entry.video.prompts, []).append(entry)
        answers = {self._new_batch(prompts, some, step) for prompts, some in by_prompts.items()}
        return ", ".join(sorted(answers))

    def _new_batch(self, prompts: Sequence[str], entries: list[Entry], step: Step) -> str:
        limit = int(step.choice * 31) % 3
        batch = BatchEntry(entries, self._hook("batch"))
        body = {
            "uris": [entry.uri for entry in entries],
            "prompts": prompts,
            "options": OPTIONS,
            "callback": batch.hook,
            "max_running": limit,
        }
        for entry in entries:
            entry.asked = True
        answer = self._ask(step, "POST", "/batches", body)
        if answer is None or not answer.is_success:
            return told(answer)
        batch.id = answer.json()["id"]
        for entry in entries:
            entry.accepted = True
        self.ledger.batches.append(batch)
        return "done"

    def _cancel_batch(self, batch: BatchEntry, step: Step) -> str:
        for entry in batch.entries:
            with entry.lock:
                entry.dropped = True
        answer = self._ask(step, "DELETE", f"/batches/{batch.id}")
        batch.cancelled |= answer is not None and answer.is_success
        return told(answer)

    def _retry_batch(self, batch: BatchEntry, step: Step) -> str:
        return told(self._ask(step, "POST", f"/batches/{batch.id}/retry"))

    # --- the queue -------------------------------------------------------------------------------

    def _pause(self, step: Step) -> str:
        answer = self._ask(step, "POST", "/queue/pause")
        time.sleep(step.seconds)
        self._ask(step, "POST", "/queue/resume")
        return told(answer)


def told(answer: httpx.Response | None) -> str:
    """In a word or two."""
    if answer is None:
        return "no answer"
    if answer.is_success:
        return "done"
    if answer.headers.get("content-type") == "application/problem+json":
        return f"{answer.status_code} {answer.json()['code']}"
    return f"{answer.status_code} without a problem document"
