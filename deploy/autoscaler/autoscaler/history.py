"""What the controller remembers from one look to the next: nothing that it could not lose."""

from __future__ import annotations

from autoscaler.launchers.base import Consumer, ConsumerState, Fleet

FAILURES = 3  # in a row, until growth is paused
PAUSES_S = (60.0, 300.0, 900.0, 1800.0)  # the first pause, the second, ...
STEADY_S = 600.0  # a consumer that has run this long shows that all is well


class History:
    """Tells stuck consumers and new failures from old ones. Times are any clock's, in seconds."""

    def __init__(self, start_timeout_s: float) -> None:
        self.start_timeout_s = start_timeout_s
        self.paused_until = 0.0
        self._since: dict[str, tuple[ConsumerState, float]] = {}
        self._ready_since: float | None = None  # since when a ready machine lacks a consumer
        self._known: frozenset[str] | None = None  # failures of the past; their rows linger
        self._failures = 0
        self._pauses = 0

    def look(self, fleet: Fleet, now: float) -> None:
        """Take in what there is now."""
        kept = self._since
        self._since = {}
        for consumer in fleet.consumers:
            state, since = kept.get(consumer.id, (consumer.state, now))
            since = since if state == consumer.state else now
            self._since[consumer.id] = consumer.state, since
        started = sum(consumer.state != ConsumerState.PENDING for consumer in fleet.consumers)
        if fleet.ready <= started:
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = now
        self._count_failures(fleet, now)

    def _count_failures(self, fleet: Fleet, now: float) -> None:
        failures = frozenset(fleet.failures)
        if self._known is None:
            self._known = failures
        self._failures += len(failures - self._known)
        self._known |= failures
        if any(
            state == ConsumerState.RUNNING and now - since > STEADY_S
            for state, since in self._since.values()
        ):
            self._failures = self._pauses = 0
        if self._failures >= FAILURES:
            self.paused_until = now + PAUSES_S[min(self._pauses, len(PAUSES_S) - 1)]
            self._failures = 0
            self._pauses += 1

    def stuck_starting(self, now: float) -> list[Consumer]:
        """Consumers that should long have started. Their machines are of no use."""
        return [
            Consumer(name, state)
            for name, (state, since) in self._since.items()
            if state == ConsumerState.STARTING and now - since > self.start_timeout_s
        ]

    def stuck_pending(self, now: float) -> list[str]:
        """Consumers that wait, though a machine has been free for them all the time."""
        if self._ready_since is None or now - self._ready_since <= self.start_timeout_s:
            return []
        return [
            name
            for name, (state, since) in self._since.items()
            if state == ConsumerState.PENDING and now - since > self.start_timeout_s
        ]
