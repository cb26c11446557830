"""``python -m tests.skypilot.files CHECKOUT DIR``: the files of deploy/skypilot, as they are
deployed, but for what the rig has none of: images, Docker, GPUs and a cloud.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

FRAME_S = "0.2"  # the engine waits so long for each frame, as a GPU would compute
BUCKET = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:15555",
}
MACHINE = {"infra": "slurm", "cpus": "2+", "memory": "4+"}


def adapted(name: str, config: dict[str, Any], checkout: Path, rig: Path) -> dict[str, Any]:
    """Slurm's machines, the environment of the checkout in place of an image's, credentials of the
    bucket among the secrets, and an engine that costs no time of the CPU."""
    config["envs"] |= BUCKET
    if name != "api.yaml":
        config["envs"] |= {
            "PYTHONPATH": str(checkout),
            "SHOAL_ENGINE": "benchmarks.waiting_engine:Waiting",
            "BENCHMARK_WAIT_S": FRAME_S,
            "SHOAL_MODEL_ENV": "BENCHMARK_WAIT_S",
        }
    config["secrets"] |= {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    match name:
        case "pool.yaml":
            del config["config"]
            config["secrets"] = {"HF_TOKEN": None}  # those of the bucket come from worker.yaml
            config["resources"] = {
                "cpus": "2+",
                "memory": "4+",
                "any_of": [{"infra": "slurm", "accelerators": "L4:1"}],
            }
        case "api.yaml":  # a second one: the queue of the rig itself has the usual ports
            config["resources"] = MACHINE
            ports = {"VALKEY_PORT": "16381", "SHOAL_API_PORT": "18001"}
            config["envs"] |= ports | {"VALKEY": str(rig / "bin" / "valkey-tls")}
        case "single.yaml":
            config["resources"] = MACHINE | {"accelerators": "L4:1"}
    for script in ("setup", "run"):
        if script in config:
            text = config[script].replace("/opt/shoal/bin", str(checkout / ".venv" / "bin"))
            text = text.replace("--engine sam3", '--engine "$SHOAL_ENGINE"')
            text = text.replace("[up,sam3,gcs,s3,azure]", "[up,s3]")
            text = text.replace("--python 3.12", f"--python {sys.executable}")
            lines = text.splitlines(keepends=True)
            config[script] = "".join(line for line in lines if "sudo docker pull" not in line)
    return config


def main() -> None:
    checkout, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for name in ("pool.yaml", "worker.yaml", "api.yaml", "single.yaml"):
        config = yaml.safe_load((checkout / "deploy" / "skypilot" / name).read_text())
        text = yaml.safe_dump(adapted(name, config, checkout, folder.parent), sort_keys=False)
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
