"""How fast videos and events come in, next to a bare FastAPI route that writes to Redis once.

``python benchmarks/ingest.py [--json] [--quick]``: both sides in two processes of uvicorn, in
turns, the same Valkey and the same clients. Then the same uploads are announced a hundred times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from redis import Redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from api.server import listen, make_server
from benchmarks.ingest_load import Outcome, Post, send
from benchmarks.report import machine, print_json, print_table
from benchmarks.serving import valkey
from shoal.local.stack import free_port
from shoal.queue.connection import connect
from shoal.queue.queue import open_queue
from shoal.settings import Settings
from tests.events import ACCOUNT, AUDIENCE, TOPIC, Internet, Signer, gcs_payload, s3_payload
from tests.running import eventually

PROCESSES = 2
ROUNDS = 5
TOKEN = "the-benchmark-token"
BEARER = (("authorization", f"Bearer {TOKEN}"),)
RULES = """
[[rule]]
bucket = "s3://matches"
prompts = ["car"]
[[rule]]
bucket = "gs://matches"
prompts = ["car"]
"""
RECORDS = 100  # of one event, where a million uploads are announced


# --- the two sides -----------------------------------------------------------------------------


def bare(redis_url: str) -> FastAPI:
    """The least that a route can do and still keep something."""
    connection = Redis.from_url(redis_url)
    app = FastAPI()

    @app.post("/bare")
    def keep(body: dict[str, Any]) -> dict[str, bool]:
        connection.rpush("bare", json.dumps(body))
        return {"kept": True}

    return app


def bare_server(redis_url: str) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(bare(redis_url), log_config=None, access_log=False))


def _serve(make: Callable[[], uvicorn.Server], port: int) -> None:
    listener = listen(Settings(api_port=port))
    make().run(sockets=[listener])


@dataclass
class Servers:
    """One side's processes."""

    ports: list[int]
    processes: list[psutil.Process]

    def send(self, posts: Sequence[Post]) -> Round:
        before = self._cpu_s()
        outcome = send(self.ports, posts)
        return Round(outcome, self._cpu_s() - before)

    def _cpu_s(self) -> float:
        times = [each.cpu_times() for each in self.processes]
        return sum(each.user + each.system for each in times)


@contextmanager
def served(make: Callable[[], uvicorn.Server]) -> Iterator[Servers]:
    """Two processes."""
    ports = [free_port() for _ in range(PROCESSES)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_serve, args=(make, port)) for port in ports]
    for process in processes:
        process.start()
    try:
        for port in ports:
            eventually(lambda port=port: _accepts(port), "a server")  # type: ignore[misc]
        yield Servers(ports, [psutil.Process(process.pid) for process in processes])
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- the loads ---------------------------------------------------------------------------------


class Round(NamedTuple):
    """How a load went, and the CPU time of its servers in seconds."""

    outcome: Outcome
    cpu_s: float


@dataclass
class Route:
    """One of ours, and what was measured of it and of the bare route right after."""

    name: str
    posts: Callable[[int, int], list[Post]]
    ours: list[Round] = field(default_factory=list)
    bare: list[Round] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        pairs = zip(self.ours, self.bare, strict=True)
        return median(ours.outcome.per_second / other.outcome.per_second for ours, other in pairs)

    @property
    def p99_ratio(self) -> float:
        pairs = zip(self.ours, self.bare, strict=True)
        return median(
            ours.outcome.percentile(99) / other.outcome.percentile(99) for ours, other in pairs
        )

    @property
    def cpu_ratio(self) -> float:
        """As ``ratio``, of the CPU time per request: other load changes it less."""
        return cpu_ms(self.bare) / cpu_ms(self.ours)


def cpu_ms(rounds: Sequence[Round]) -> float:
    """CPU time of the servers per request."""
    requests = sum(len(each.outcome.latencies) for each in rounds)
    return 1000 * sum(each.cpu_s for each in rounds) / requests


def routes(folder: Path, signer: Signer) -> list[Route]:
    push = (("authorization", f"Bearer {signer.token()}"),)

    def videos(begin: int, end: int) -> list[Post]:
        posts = []
        for number in range(begin, end):
            path = folder / f"{number}.mp4"
            path.write_bytes(b"x")
            body = json.dumps({"uri": path.as_uri(), "prompts": ["car"]}).encode()
            posts.append(Post("/videos", body, BEARER))
        return posts

    def google(begin: int, end: int) -> list[Post]:
        documents = (gcs_payload("matches", f"{number}.mp4") for number in range(begin, end))
        return [Post("/events/gcs", json.dumps(each).encode(), push) for each in documents]

    def amazon(begin: int, end: int) -> list[Post]:
        documents = (s3_payload("matches", f"{number}.mp4") for number in range(begin, end))
        return [Post("/events/s3", json.dumps(each).encode(), BEARER) for each in documents]

    return [Route("videos", videos), Route("gcs", google), Route("s3", amazon)]


def measure(route: Route, ours: Servers, others: Servers, count: int) -> None:
    """Rounds of the route and of the bare one, with the same bodies, in turns."""
    ours.send(route.posts(0, count // 5))
    for number in range(1, ROUNDS + 1):
        posts = route.posts(number * count, (number + 1) * count)
        route.ours.append(ours.send(posts))
        route.bare.append(others.send([Post("/bare", post.body) for post in posts]))


def announce_again_and_again(ours: Servers, uploads: int, times: int) -> None:
    """Each of ``uploads`` objects is announced ``times`` times, many in one event."""
    events = []
    for begin in range(0, uploads, RECORDS):
        records = [
            record
            for number in range(begin, begin + RECORDS)
            for record in s3_payload("matches", f"again/{number}.mp4")["Records"]
        ]
        events.append(Post("/events/s3", json.dumps({"Records": records}).encode(), BEARER))
    for _ in range(times):
        ours.send(events)


# --- the report --------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures as JSON on the last line")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    arguments = parser.parse_args()
    count, uploads, times = (200, 1000, 10) if arguments.quick else (2000, 10_000, 100)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis_url = stack.enter_context(valkey(folder))
        (folder / "rules.toml").write_text(RULES)
        settings = Settings(
            redis_url=redis_url,
            data_dir=folder / "data",
            rules=folder / "rules.toml",
            file_roots=(folder,),
            sweep_s=0,
            api_tokens=(SecretStr(TOKEN),),
            rate_limit=1_000_000,  # counted, and not reached
            event_tokens=(SecretStr(TOKEN),),
            gcs_audience=AUDIENCE,
            gcs_senders=(ACCOUNT,),
            sns_topics=(TOPIC,),
        )
        connection = connect(settings, attempts_s=20)
        signer = Signer()
        transport = Internet(signer).transport()
        ours = stack.enter_context(served(lambda: make_server(settings, transport)))
        others = stack.enter_context(served(lambda: bare_server(redis_url)))
        found = routes(folder, signer)
        for route in found:
            measure(route, ours, others, count)
        queue = open_queue(settings, connection)
        before = queue.depth().queued
        announce_again_and_again(ours, uploads, times)
        queued = queue.depth().queued - before

    print(machine(["fastapi", "uvicorn", "redis", "rq"]))
    print_rates(found)
    print(f"{times} announcements of {uploads} uploads queued {queued} jobs")
    if arguments.json:
        print_json(figures(found) | {"jobs_queued": queued})


def print_rates(found: list[Route]) -> None:
    rows = []
    for route in found:
        for side, rounds in (("ours", route.ours), ("bare", route.bare)):
            outcomes = [each.outcome for each in rounds]
            rows.append(
                [
                    f"{route.name}, {side}",
                    f"{median(each.per_second for each in outcomes):.0f}",
                    f"{median(each.percentile(50) for each in outcomes) * 1000:.1f}",
                    f"{median(each.percentile(99) for each in outcomes) * 1000:.1f}",
                    f"{cpu_ms(rounds):.2f}",
                ]
            )
    print_table(["route", "events/s", "p50 ms", "p99 ms", "CPU ms"], rows)


def figures(found: list[Route]) -> dict[str, float]:
    """The keys of the JSON line."""
    known: dict[str, float] = {}
    for route in found:
        known[f"ratio_to_bare_{route.name}"] = round(route.ratio, 3)
        known[f"p99_ratio_{route.name}"] = round(route.p99_ratio, 3)
        known[f"cpu_ms_{route.name}"] = round(cpu_ms(route.ours), 3)
        known[f"cpu_ratio_to_bare_{route.name}"] = round(route.cpu_ratio, 3)
    known["ratio_to_bare"] = min(round(route.ratio, 3) for route in found)
    known["p99_ratio"] = max(round(route.p99_ratio, 3) for route in found)
    return known


if __name__ == "__main__":
    main()
