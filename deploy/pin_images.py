"""Renew the digests of the images that Shoal's stand on and are run with.

Every image of another's is written as name:tag@sha256:digest. This asks the registries, by
'docker buildx imagetools', what each tag leads to now, and writes that down in the place of the
old digest. To use another tag, change it in its file and run this again.

    python deploy/pin_images.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "Dockerfile.api",
    "Dockerfile.worker",
    "docker-compose.yml",
    "deploy/autoscaler/Dockerfile",
    "deploy/kubernetes/valkey.yaml",
    "deploy/skypilot/api.sh",
    "deploy/skypilot/api.yaml",
)
PINNED = re.compile(r"([a-z0-9][a-z0-9./-]*:\w[\w.-]*)@sha256:[0-9a-f]{64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@cache
def digest_of(tag: str) -> str:
    """What a tag leads to: for an image of several platforms, the digest of their list.

    Raises:
        SystemExit: the registry does not tell.
    """
    command = ["docker", "buildx", "imagetools", "inspect", tag]
    command += ["--format", "{{.Manifest.Digest}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not DIGEST.fullmatch(done.stdout.strip()):
        sys.exit(f"{tag}: no digest: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def main() -> None:
    texts = {ROOT / name: (ROOT / name).read_text() for name in FILES}
    # All are asked before the first file is changed.
    pinned = {
        path: PINNED.sub(lambda found: f"{found[1]}@{digest_of(found[1])}", text)
        for path, text in texts.items()
    }
    for path, text in pinned.items():
        if text != texts[path]:
            path.write_text(text)
            sys.stdout.write(f"{path.relative_to(ROOT)}: new digests\n")


if __name__ == "__main__":
    main()
