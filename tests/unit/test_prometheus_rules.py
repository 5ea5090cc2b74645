"""The ready rules for Prometheus: they name metrics that there are, and the docs explain each alarm and each metric."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli.run import WorkerName
from pipeline.kafka.metrics import WorkerMetrics

_ROOT = Path(__file__).resolve().parents[2]
_RULES = _ROOT / "examples" / "prometheus-rules.yml"
_SCRAPE = _ROOT / "examples" / "prometheus.yml"


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(_RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _metrics() -> set[str]:
    """Each metric as Prometheus calls it, without the parts of a histogram."""
    families = WorkerMetrics().registry.collect()
    ours = [family for family in families if family.name.startswith("tocsin_")]
    return {family.name + ("_total" if family.type == "counter" else "") for family in ours}


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alarm_asks_for_metrics_that_there_are_and_says_what_it_means(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\btocsin_\w+", rule["expr"]))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= _metrics()
    assert rule["annotations"]["what"]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_every_alarm_and_every_metric_is_explained() -> None:
    docs = (_ROOT / "docs" / "operations.md").read_text()
    assert [rule["alert"] for rule in _rules() if f"| `{rule['alert']}` |" not in docs] == []
    assert [name for name in sorted(_metrics()) if f"`{name}`" not in docs] == []


def test_every_worker_is_missed_when_none_of_its_kind_runs() -> None:
    (gone,) = (rule["expr"] for rule in _rules() if rule["alert"] == "TocsinWorkerKindGone")
    assert set(re.findall(r'worker="(\w+)"', gone)) == {worker.value for worker in WorkerName}


def test_every_service_of_the_compose_file_that_has_metrics_is_scraped() -> None:
    compose = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
    (job,) = yaml.safe_load(_SCRAPE.read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    told = {name for name, service in compose["services"].items() if "TOCSIN_METRICS_PORT" in str(service)}
    assert set(found["names"]) == told - {"init"}
    assert found["port"] == compose["x-settings"]["TOCSIN_METRICS_PORT"]


@pytest.mark.parametrize(("kind", "path"), [("rules", _RULES), ("config", _SCRAPE)])
def test_prometheus_accepts_the_files(kind: str, path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool (part of Prometheus) is not installed")
    done = subprocess.run(["promtool", "check", kind, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
