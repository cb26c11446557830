"""No secret is an argument of a program: those can be read by everybody on the machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from redis import Redis
from redis.exceptions import ConnectionError as NoAnswer

from shoal.local.valkey import find_server
from shoal.settings import Settings
from tests.deploy.test_cloud_scripts import program
from tests.deploy.test_compose import services
from tests.deploy.test_kubernetes import pod
from tests.running import ROOT, eventually

PASSWORD = "5ec2e7" * 8

# Names and what holds their values in the shell of our scripts and pages.
SECRET = r"\$\{?\w*(?:PASSWORD|SECRET|TOKEN|password|secret|token)\w*\b|\$\(openssl rand"
BEFORE_COMMAND = re.compile(
    r"^[\s{(]*(?:exec\s+)?(?:\w+=(?:\"[^\"]*\"|'[^']*'|\$\([^)]*\)|\S*)\s*)*"
)
BUILTINS = {"echo", "printf", "export", "local", ":", "[", "[[", "test", "until"}


def of_compose() -> list[str]:
    return [part.replace("$$", "$") for part in services()["valkey"]["command"]]


def of_kubernetes() -> list[str]:
    (container,) = pod("StatefulSet", "valkey")["containers"]
    return [*container["command"], *container["args"]]


START = pytest.mark.parametrize("command", [of_compose(), of_kubernetes()], ids=["compose", "k8s"])


@START
def test_valkey_gets_its_password_by_standard_input(command: list[str], tmp_path: Path) -> None:
    env = program(tmp_path / "bin", "valkey-server", 'echo "$@" > args', "cat > config")
    subprocess.run(command, cwd=tmp_path, env=env | {"VALKEY_PASSWORD": PASSWORD}, check=True)
    assert PASSWORD not in (tmp_path / "args").read_text()
    lines = (tmp_path / "config").read_text().splitlines()
    assert f"requirepass {PASSWORD}" in lines
    assert "appendonly yes" in lines
    assert "maxmemory-policy noeviction" in lines


@START
def test_valkey_takes_it(command: list[str], tmp_path: Path, settings: Settings) -> None:
    """The real server, in a folder and on a socket of its own."""
    env = program(tmp_path / "bin", "valkey-server", f'exec "{find_server()}" "$@"')
    shell, flag, script = command
    socket = tmp_path / "socket"
    here = f"port 0\nunixsocket {socket}\nCONF\n"
    script = script.replace("dir /data", f"dir {tmp_path}").replace("CONF\n", here, 2)
    script = script.replace(f"<<{here}", "<<CONF\n")
    with subprocess.Popen(
        [shell, flag, script], env=env | {"VALKEY_PASSWORD": PASSWORD}, stdout=subprocess.DEVNULL
    ) as server:
        try:
            eventually(socket.exists, "the server")
            with Redis(unix_socket_path=str(socket), password=PASSWORD) as redis:
                eventually(lambda: answers(redis), "an answer")
                # With snapshots besides, it would not end while its disk is full.
                assert redis.config_get("appendonly", "save") == {"appendonly": "yes", "save": ""}
            assert PASSWORD not in Path(f"/proc/{server.pid}/cmdline").read_text()
        finally:
            server.terminate()
    assert server.returncode == 0, "the signal reaches the server itself"


def answers(redis: Redis) -> bool:
    """The socket is there before the server listens."""
    try:
        return bool(redis.ping())
    except NoAnswer:
        return False


def shell_of_pages() -> Iterator[tuple[str, str]]:
    """Every piece of shell that we give: scripts, recipes, pages, manifests; with its file."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for block in re.findall(r"^```(?:bash|sh|)\n(.*?)^```", path.read_text(), re.M | re.S):
            yield path.name, block
    for path in (ROOT / "deploy").rglob("*.sh"):
        yield path.name, path.read_text()
    for path in (ROOT / "deploy/skypilot").glob("*.yaml"):
        task = yaml.safe_load(path.read_text())
        yield path.name, "\n".join(task.get(part) or "" for part in ("setup", "run"))
    yield "docker-compose.yml", of_compose()[-1]
    yield "valkey.yaml", of_kubernetes()[-1]
    for path in [*ROOT.glob("Dockerfile.*"), ROOT / "Makefile"]:
        yield path.name, path.read_text()


def arguments(shell: str) -> Iterator[str]:
    """Commands with a secret among their arguments."""
    shell = re.sub(r"<<-? ?['\"]?(\w+)['\"]?(.*?)\n.*?^\s*\1$", r"\2", shell, flags=re.M | re.S)
    for line in shell.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|\|?|;(?![^\"']*[\"'])", line.split(" #")[0]):
            words = BEFORE_COMMAND.sub("", command)
            name = words.split(" ")[0]
            if words and name not in BUILTINS and re.search(SECRET, words):
                yield words.strip()


def test_no_command_has_a_secret_as_an_argument() -> None:
    found = [(name, each) for name, shell in shell_of_pages() for each in arguments(shell)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'valkey-server --requirepass "$VALKEY_PASSWORD"',
        "kubectl create secret generic shoal \\\n  --from-literal=A=$(openssl rand -hex 24)",
        'exec valkey-server --requirepass "$VALKEY_PASSWORD"',
        'sed -i "s/^A=.*/A=$token/" .env',
        'cd x && curl -H "Authorization: Bearer $SHOAL_API_TOKEN" http://127.0.0.1',
    ],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert list(arguments(line))


@pytest.mark.parametrize(
    "line",
    [
        "token=$(openssl rand -hex 24)",
        "export SHOAL_API_TOKEN=$token",
        'VALKEYCLI_AUTH="$VALKEY_PASSWORD" valkey-cli ping',
        "exec valkey-server - <<CONF\nrequirepass $VALKEY_PASSWORD\nCONF\n",
    ],
)
def test_and_nothing_else(line: str) -> None:
    assert not list(arguments(line))
