"""Build the images and use them once (``make images``).

Prints the size of each layer of the images of API, CPU worker and autoscaler, and starts API and
worker as they are deployed: as their own user, on a read-only root, without a capability. They
share one network, which leads nowhere. The health checks must pass, and a video be processed.

    python deploy/images.py VIDEO [BUILD_OPTION...]

Uses docker, or else podman; the options go to its 'build'. For a base image that cannot be pulled,
this machine's Debian and its Python 3.12 stand in: deploy/standin.sh.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "shoal-images-"  # of containers and of their volume
STANDIN = "localhost/shoal-standin"
LIMITS_MB = {"api": 150, "worker": 800, "autoscaler": math.inf}  # beyond the base
HEALTHY_WITHIN_S = 300
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of containers that nobody else reaches
LOCKED = [
    *("--read-only", "--tmpfs", "/tmp:size=1g", "--cap-drop", "ALL"),  # noqa: S108
    *("--security-opt", "no-new-privileges"),
]


def engine() -> str:
    """The one that answers.

    Raises:
        SystemExit: neither does.
    """
    for name in ("docker", "podman"):
        found = shutil.which(name)
        if found and not subprocess.run([found, "info"], capture_output=True).returncode:
            return name
    sys.exit("neither docker nor podman answers")


ENGINE = engine()


def attempt(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ENGINE, *arguments],
        cwd=ROOT,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments: str, text: str = "") -> str:
    """
    Raises:
        SystemExit: it failed.
    """
    done = attempt(*arguments, text=text)
    if done.returncode:
        sys.exit(f"{ENGINE} {' '.join(arguments)}:\n{done.stdout}")
    return done.stdout.strip()


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


# --- images --------------------------------------------------------------------------------------


def base(file: str, name: str) -> str:
    """An image of another's, as a file of ours pins it, or what stands in for it."""
    found = re.search(rf"{name}:[\w.-]+@sha256:[0-9a-f]{{64}}", (ROOT / file).read_text())
    if not found:
        sys.exit(f"{file} names no image {name}")
    if not attempt("pull", "--quiet", found[0]).returncode:
        return found[0]
    say(f"{found[0].partition('@')[0]} cannot be pulled: a stand-in takes its place")
    if attempt("image", "inspect", STANDIN).returncode:
        subprocess.run([ROOT / "deploy" / "standin.sh", ENGINE, STANDIN], cwd=ROOT, check=True)
    return STANDIN


def build(name: str, options: list[str], dockerfile: str, **values: str) -> None:
    """``shoal-NAME``."""
    say(f"building {name}")
    arguments = [part for pair in values.items() for part in ("--build-arg", "=".join(pair))]
    # Podman's own format has no health checks, and its cache does not look into what is mounted.
    form = ["--format", "docker", "--no-cache"] if ENGINE == "podman" else []
    run(
        "build", *form, *options, *arguments, "-t", f"localhost/shoal-{name}", "-f", dockerfile, "."
    )


def size(image: str) -> int:
    return int(run("image", "inspect", "--format", "{{.Size}}", image))


def is_small(name: str, below: str) -> bool:
    """Whether the image adds no more to its base than it may; prints the layers that it adds."""
    image = f"localhost/shoal-{name}"
    layers = run("history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image)
    for layer in layers.splitlines():
        bulk, _, step = layer.partition("\t")
        if not re.fullmatch("0 ?B", bulk):
            say(f"  {bulk:>8}  {' '.join(step.split())[:100]}")
    added = (size(image) - size(below)) / 1e6
    say(f"{name}: {added:.0f} MB beyond its base, of at most {LIMITS_MB[name]}")
    return added <= LIMITS_MB[name]


# --- containers ----------------------------------------------------------------------------------


def start(name: str, *arguments: str) -> None:
    run("run", "--detach", "--name", PREFIX + name, *LOCKED, *arguments)


def use(valkey: str, video: Path) -> None:
    """Start them together, and process a video."""
    server = "exec $(command -v valkey-server || command -v redis-server) --dir /tmp"
    start("valkey", "--network", "none", valkey, "sh", "-c", server)
    shared = ["--network", f"container:{PREFIX}valkey", "--volume", f"{PREFIX}data:/data"]
    for each in (
        "SHOAL_REDIS_URL=redis://127.0.0.1/0",
        f"SHOAL_API_TOKEN={TOKEN}",
        f"SHOAL_API_TOKENS={TOKEN}",
        "SHOAL_ENGINE=cpu",
    ):
        shared += ["--env", each]
    start("api", *shared, "--volume", f"{video}:/video.mp4:ro", "localhost/shoal-api")
    start("worker", *shared, "--tmpfs", "/models", "localhost/shoal-worker")
    for name in ("api", "worker"):
        wait_until_healthy(PREFIX + name)
    say(
        run(
            "exec", PREFIX + "api", "shoal", "submit", "/video.mp4", "--prompt", "person", "--watch"
        )
    )


def wait_until_healthy(container: str) -> None:
    """By the image's own check.

    Raises:
        SystemExit: it is not in time; with its log.
    """
    until = time.monotonic() + HEALTHY_WITHIN_S
    while not is_healthy(container):
        if time.monotonic() > until:
            sys.exit(f"{container} is not healthy:\n{run('logs', container)}")
        time.sleep(2)
    say(f"{container} is healthy")


def is_healthy(container: str) -> bool:
    if ENGINE == "podman":  # has nobody who asks by the clock
        return not attempt("healthcheck", "run", container).returncode
    return run("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy"


def clear() -> None:
    for name in ("worker", "api", "valkey"):
        attempt("rm", "--force", PREFIX + name)
    attempt("volume", "rm", PREFIX + "data")


def main() -> None:
    video, options = Path(sys.argv[1]).resolve(), sys.argv[2:]
    python = base("Dockerfile.api", "python")
    ubuntu = base("docker-compose.yml", "ubuntu")
    valkey = base("docker-compose.yml", "valkey/valkey")
    build("api", options, "Dockerfile.api", PYTHON=python)
    # WEIGHTS as it is by default: older podmans do not put defaults into the name of a stage.
    worker = {"CONSTRAINTS": "worker-cpu", "WEIGHTS": "none"}
    build("worker", options, "Dockerfile.worker", PYTHON=python, BASE=ubuntu, **worker)
    build("autoscaler", options, "deploy/autoscaler/Dockerfile", PYTHON=python)
    small = [is_small("api", python), is_small("worker", ubuntu), is_small("autoscaler", python)]
    clear()
    try:
        use(valkey, video)
    finally:
        clear()
    if not all(small):
        sys.exit("an image is larger than it may be")


if __name__ == "__main__":
    main()
