"""The thread that delivers webhooks, so that slow receivers do not block workers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import SecretStr

from api.background.base import Background
from api.webhook_client import Answer, NoAnswer, WebhookClient
from shoal import __version__
from shoal.errors import InvalidCallback, RedisUnavailable
from shoal.hosts import host_of
from shoal.model.delivery import Delivery, Try
from shoal.queue.connection import redis_errors
from shoal.queue.webhooks import CLAIM_S, Outbox

PAUSE_S = 0.5
THREADS = 8
PER_HOST = 2  # at once, so that a slow receiver leaves room for the others
MAX_HOST_PAUSE_S = 300.0

log = logging.getLogger(__name__)


class WebhookSender(Background):
    """Delivers what is due. Several APIs may run one each: a delivery is claimed for each try."""

    def __init__(self, outbox: Outbox, secrets: Sequence[SecretStr], client: WebhookClient) -> None:
        super().__init__("webhook sender", PAUSE_S)
        self._outbox = outbox
        self._keys = [_key(secret.get_secret_value()) for secret in secrets]
        self._client = client
        self._hosts = _Hosts()
        self._free = threading.Semaphore(THREADS)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="callback")

    def stop(self) -> None:
        """End it; a try that is cut off is made again after its claim has lapsed."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().stop()

    def round(self) -> bool:
        for delivery in self._outbox.due(10 * THREADS):
            self._start(delivery)
        return False

    def _start(self, delivery: Delivery) -> None:
        """Begin a try on a thread of its own, or leave the delivery for later."""
        if self.stop_asked.is_set():
            return
        if self._outbox.is_gone(delivery.url):
            self._outbox.disabled(delivery, None)
            return
        host = host_of(delivery.url)
        if wait_s := self._hosts.wait(host):
            self._outbox.postpone(delivery, wait_s)
            return
        self._free.acquire()
        started = False
        try:
            if self._outbox.claim(delivery):
                self._hosts.begin(host)
                self._pool.submit(self._try, delivery, host)
                started = True
        except RuntimeError:  # stopped in this moment: it is tried again after its claim
            self._hosts.end(host, answered=True)
        finally:
            if not started:  # whatever kept it from starting: the permit is not lost
                self._free.release()

    def _try(self, delivery: Delivery, host: str) -> None:
        answered = False
        try:
            with redis_errors():
                answered = self._deliver(delivery)
        except RedisUnavailable as error:
            log.warning("webhook %s will be retried: %s", delivery.id, error)
        except Exception:
            log.exception("webhook %s will be retried", delivery.id)
        finally:
            self._hosts.end(host, answered)
            self._free.release()

    def _deliver(self, delivery: Delivery) -> bool:
        """One try, put on record; whether there was an answer."""
        started = time.time()
        answer, fault, final = Answer(0, 0.0), "", False
        try:
            answer = self._client.post(delivery.url, self.headers(delivery), delivery.body.encode())
        except NoAnswer as error:
            fault = str(error)
        except InvalidCallback as error:
            fault, final = f"{error} [{error.code}]", True
        except Exception as error:  # whatever it is, it counts: no delivery is tried for ever
            log.exception("callback %s: a fault of ours", delivery.id)
            fault = f"an unexpected {type(error).__name__}"
        seconds = round(time.time() - started, 3)
        attempt = Try(at=started, seconds=seconds, status=answer.status, error=fault)
        if 200 <= answer.status < 300:
            state = self._outbox.delivered(delivery, attempt).state
        elif answer.status == 410:
            state = self._outbox.disabled(delivery, attempt).state
        else:
            wait_s = answer.retry_after_s
            state = self._outbox.failed(delivery, attempt, final=final, wait_s=wait_s).state
        # Only the host: paths and queries of webhook URLs often contain a secret.
        told = fault or f"{answer.status}, {state}"
        log.info("webhook %s to %s: %s", delivery.id, host_of(delivery.url), told)
        return answer.status > 0

    def headers(self, delivery: Delivery) -> dict[str, str]:
        """Signed after the Standard Webhooks specification, with each of the secrets."""
        at = str(int(time.time()))
        signed = f"{delivery.id}.{at}.{delivery.body}".encode()
        digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys]
        return {
            "Content-Type": "application/json",
            "User-Agent": f"shoal/{__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": at,
            "webhook-signature": " ".join(f"v1,{base64.b64encode(d).decode()}" for d in digests),
        }


class _Hosts:
    """Who is being talked to, and who did not answer and is left alone for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[str, int] = {}
        self._silent: dict[str, tuple[int, float]] = {}  # tries in vain, and until when it rests

    def wait(self, host: str) -> float:
        """Seconds until a try makes sense; 0: now."""
        with self._lock:
            _, until = self._silent.get(host, (0, 0.0))
            rest = until - time.monotonic()
            return max(rest, 0.0) or (1.0 if self._busy.get(host, 0) >= PER_HOST else 0.0)

    def begin(self, host: str) -> None:
        with self._lock:
            self._busy[host] = self._busy.get(host, 0) + 1
            if host in self._silent:  # one try shows whether it is back
                self._silent[host] = (self._silent[host][0], time.monotonic() + CLAIM_S)

    def end(self, host: str, answered: bool) -> None:
        with self._lock:
            self._busy[host] -= 1
            if not self._busy[host]:
                del self._busy[host]
            if answered:
                self._silent.pop(host, None)
                return
            tries = self._silent.get(host, (0, 0.0))[0] + 1
            rest = min(2.0 ** min(tries, 10), MAX_HOST_PAUSE_S)
            self._silent[host] = (tries, time.monotonic() + rest)


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_") + "==")
