"""deploy/gcp and deploy/aws: the scripts themselves, run against programs that stand in.

``gcloud`` is a program that notes its arguments and remembers what there is; ``aws`` is the real
one, and talks to moto's server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.buckets import amazon
from tests.deploy.conftest import Tool
from tests.running import ROOT

GCP, AWS = ROOT / "deploy/gcp/events.sh", ROOT / "deploy/aws/events.sh"
REGION = "eu-central-1"

pytestmark = pytest.mark.timeout(900)  # dozens of starts of programs

OPTIONS = {
    GCP: ["--project", "p", "--uploads", "uploads", "--results", "results"],
    AWS: ["--region", REGION, "--uploads", "uploads", "--results", "results"],
}
ENDPOINTS = {
    GCP: "https://shoal.example.com/events/gcs",
    AWS: "https://shoal.example.com/events/s3",
}


def run(script: Path, *args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *args], env=env, capture_output=True, text=True, check=False
    )


def up(script: Path, env: dict[str, str], *more: str) -> str:
    options = [*OPTIONS[script], "--endpoint", ENDPOINTS[script], *more]
    done = run(script, "up", *options, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def down(script: Path, env: dict[str, str], *more: str) -> str:
    done = run(script, "down", *OPTIONS[script], *more, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("+ ")]


def program(folder: Path, name: str, *lines: str) -> dict[str, str]:
    """An environment in which ``name`` is a shell script of these lines."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def gcloud(tmp_path: Path) -> dict[str, str]:
    stand_in = Path(__file__).parent / "fake_gcloud.py"
    env = program(tmp_path / "bin", "gcloud", f'exec "{sys.executable}" "{stand_in}" "$@"')
    return {**env, "FAKE_GCLOUD": str(tmp_path / "gcloud.json")}


def held(env: dict[str, str]) -> dict[str, Any]:
    return dict(json.loads(Path(env["FAKE_GCLOUD"]).read_text()))


@pytest.mark.parametrize("script", [GCP, AWS], ids=["gcp", "aws"])
def test_shell_is_sound(script: Path, tool: Tool) -> None:
    tool("shellcheck", str(script))


@pytest.mark.parametrize(("script", "name"), [(GCP, "gcloud"), (AWS, "aws")], ids=["gcp", "aws"])
def test_a_dry_run_prints_and_does_nothing(script: Path, name: str, tmp_path: Path) -> None:
    env = program(tmp_path / "bin", name, f'echo called >> "{tmp_path}/called"')
    created = commands(up(script, env, "--dry-run"))
    removed = commands(down(script, env, "--dry-run"))
    assert len(created) > 8
    assert len(removed) > 6
    assert all(line.startswith(f"+ {name} ") for line in created + removed)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("script", [GCP, AWS], ids=["gcp", "aws"])
@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["sideways"], "up or down"),
        (["up", "--speed"], "unknown option"),
        (["up", "--uploads"], "needs a value"),
        (["down", "--uploads", "u"], "is missing"),
    ],
)
def test_wrong_usage_is_refused(script: Path, args: list[str], complaint: str) -> None:
    done = run(script, *args, env=dict(os.environ))
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize("script", [GCP, AWS], ids=["gcp", "aws"])
def test_an_endpoint_that_is_not_ours_is_refused(script: Path) -> None:
    done = run(
        script, "up", *OPTIONS[script], "--endpoint", "http://x/events", env=dict(os.environ)
    )
    assert done.returncode == 2
    assert "--endpoint" in done.stderr


def test_google_cloud_up_twice_and_down(gcloud: dict[str, str]) -> None:
    assert f"SHOAL_GCS_AUDIENCE={ENDPOINTS[GCP]}" in up(GCP, gcloud)
    first = held(gcloud)
    push = "shoal-push@p.iam.gserviceaccount.com"
    subscription = first["subscriptions"]["shoal-uploads"]
    assert subscription["--push-endpoint"] == ENDPOINTS[GCP]
    assert subscription["--push-auth-token-audience"] == ENDPOINTS[GCP]
    assert subscription["--push-auth-service-account"] == push
    assert subscription["--dead-letter-topic"] == "shoal-uploads-dead"
    assert set(first["topics"]) == {"shoal-uploads", "shoal-uploads-dead"}
    assert len(first["notifications"]) == 1
    assert sorted(first["bindings"]) == [
        # who, what, on what: no more than this
        "agent:gcp-sa-pubsub roles/iam.serviceAccountTokenCreator shoal-push",
        "agent:gcp-sa-pubsub roles/pubsub.publisher shoal-uploads-dead",
        "agent:gcp-sa-pubsub roles/pubsub.subscriber shoal-uploads",
        "agent:gs-project-accounts roles/pubsub.publisher shoal-uploads",
        "shoal-worker roles/storage.objectUser gs://results",
        "shoal-worker roles/storage.objectViewer gs://uploads",
    ]

    second = up(GCP, gcloud)
    assert held(gcloud) == first
    assert " create " not in second

    down(GCP, gcloud)
    left = held(gcloud)
    assert not any(left[kind] for kind in ("topics", "subscriptions", "notifications", "accounts"))
    assert not [line for line in left["bindings"] if line.startswith("shoal-worker")]
    down(GCP, gcloud)


def test_google_cloud_goes_down_without_its_bucket(gcloud: dict[str, str]) -> None:
    up(GCP, gcloud)
    path = Path(gcloud["FAKE_GCLOUD"])
    path.write_text(json.dumps(held(gcloud) | {"notifications": {}, "deleted": ["uploads"]}))
    down(GCP, gcloud)
    left = held(gcloud)
    assert not any(left[kind] for kind in ("topics", "subscriptions", "accounts"))


def test_google_cloud_keeps_other_notifications(gcloud: dict[str, str]) -> None:
    other = {"7": "//pubsub.googleapis.com/projects/p/topics/other"}
    Path(gcloud["FAKE_GCLOUD"]).write_text(json.dumps({"notifications": other}))
    up(GCP, gcloud)
    down(GCP, gcloud)
    assert held(gcloud)["notifications"] == other


def test_google_cloud_says_when_gcloud_does_not_work(tmp_path: Path) -> None:
    env = program(tmp_path / "bin", "gcloud", "echo not logged in >&2", "exit 1")
    done = run(GCP, "down", *OPTIONS[GCP], env=env)
    assert done.returncode != 0
    assert "not logged in" in done.stderr


class Account:
    """What is in moto's account."""

    def __init__(self, url: str) -> None:
        session = boto3.Session("test", "test", region_name=REGION)
        self.client: Callable[[Any], Any] = lambda name: session.client(name, endpoint_url=url)

    def names(self) -> dict[str, list[str]]:
        sns, sqs, iam = self.client("sns"), self.client("sqs"), self.client("iam")
        return {
            "topics": [each["TopicArn"].rpartition(":")[2] for each in sns.list_topics()["Topics"]],
            "subscriptions": [
                each["Endpoint"] for each in sns.list_subscriptions()["Subscriptions"]
            ],
            "queues": [each.rpartition("/")[2] for each in sqs.list_queues().get("QueueUrls", [])],
            "roles": [each["RoleName"] for each in iam.list_roles()["Roles"]],
            "profiles": [
                each["InstanceProfileName"]
                for each in iam.list_instance_profiles()["InstanceProfiles"]
            ],
            "notifications": [
                each["Id"]
                for each in self.client("s3")
                .get_bucket_notification_configuration(Bucket="uploads")
                .get("TopicConfigurations", [])
            ],
        }


@pytest.fixture
def aws(tools: Path, tmp_path: Path) -> Iterator[tuple[dict[str, str], Account]]:
    with amazon(tmp_path) as access:
        url = access["AWS_ENDPOINT_URL_S3"]
        # The CLI asks the cloud itself for queues, whatever AWS_ENDPOINT_URL says.
        env = program(tmp_path / "bin", "aws", f'exec "{tools}/aws" --endpoint-url "{url}" "$@"')
        env |= access
        account = Account(url)
        for bucket in ("uploads", "results"):
            account.client("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        yield env, account


def test_aws_up_twice_and_down(aws: tuple[dict[str, str], Account]) -> None:
    env, account = aws
    other = account.client("sns").create_topic(Name="other")["TopicArn"]
    account.client("s3").put_bucket_notification_configuration(
        Bucket="uploads",
        NotificationConfiguration={
            "TopicConfigurations": [
                {"Id": "theirs", "TopicArn": other, "Events": ["s3:ObjectRemoved:*"]}
            ]
        },
    )
    before = account.names()

    said = up(AWS, env)
    assert f"SHOAL_SNS_TOPICS=arn:aws:sns:{REGION}:123456789012:shoal-uploads" in said
    made = account.names()
    assert made == {
        "topics": ["other", "shoal-uploads"],
        "subscriptions": [ENDPOINTS[AWS]],
        "queues": ["shoal-uploads-dead"],
        "roles": ["shoal-worker"],
        "profiles": ["shoal-worker"],
        "notifications": ["theirs", "shoal"],
    }
    policy = account.client("iam").get_role_policy(RoleName="shoal-worker", PolicyName="shoal")
    assert [each["Resource"] for each in policy["PolicyDocument"]["Statement"]] == [
        "arn:aws:s3:::uploads/*",
        "arn:aws:s3:::results/*",
        ["arn:aws:s3:::uploads", "arn:aws:s3:::results"],
    ]
    (subscription,) = account.client("sns").list_subscriptions()["Subscriptions"]
    attributes = account.client("sns").get_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"]
    )["Attributes"]
    assert json.loads(attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:123456789012:shoal-uploads-dead"
    }

    assert "s3:AbortMultipartUpload" in policy["PolicyDocument"]["Statement"][1]["Action"]

    moved = "https://moved.example/events/s3"
    done = run(AWS, "up", *OPTIONS[AWS], "--endpoint", moved, env=env)
    assert done.returncode == 0, done.stderr
    assert account.names() == made | {"subscriptions": [moved]}
    down(AWS, env)
    assert account.names() == before

    up(AWS, env)
    account.client("s3").delete_bucket(Bucket="uploads")
    down(AWS, env)
    account.client("s3").create_bucket(
        Bucket="uploads", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    assert account.names() == before | {"notifications": []}
