"""What deploy/monitoring asks Prometheus for is what /metrics tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
NAME = re.compile(r"\bshoal_[a-z_]+\b")


def promtool(*arguments: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed: Debian's package 'prometheus' has it")
    done = subprocess.run([tool, *arguments], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_scrape_configuration() -> None:
    promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")


def test_alerts_fire_when_they_should_and_not_else() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_both_ways() -> None:
    alerts = re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    quiet, firing = (MONITORING / "alerts_test.yml").read_text().split("name: all at once")
    assert alerts
    for alert in alerts:
        assert f"alertname: {alert}" in quiet
        assert f"alertname: {alert}\n" in firing


def board_expressions() -> list[str]:
    board = json.loads((MONITORING / "grafana.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def asked_for() -> set[str]:
    """The metrics that the board and the rules name."""
    texts = [*board_expressions(), (MONITORING / "alerts.yml").read_text()]
    return {name for text in texts for name in NAME.findall(text)}


def test_the_board_is_whole() -> None:
    board = json.loads((MONITORING / "grafana.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["title"] and panel["targets"] for panel in board["panels"])


@pytest.mark.parametrize("source", ["grafana.json", "alerts.yml"])
def test_every_expression_can_be_parsed(source: str, tmp_path: Path) -> None:
    if source == "alerts.yml":
        return promtool("check", "rules", source)
    rules = [{"record": f"board:{n}", "expr": e} for n, e in enumerate(board_expressions())]
    path = tmp_path / "board.yml"
    path.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    return promtool("check", "rules", "--lint=none", str(path))
