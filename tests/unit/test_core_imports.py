"""The pure core imports no broker, store, network or model library: folds run wherever Python does."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import pipeline.detect

FORBIDDEN = (
    *("faust", "confluent_kafka", "sqlalchemy", "psycopg2", "httpx", "redis"),
    *("torch", "transformers", "openvino", "fastapi", "uvicorn"),
)
CORE = (
    *("pipeline.flow", "pipeline.ingest.fold", "pipeline.bucket", "pipeline.tallies", "pipeline.records"),
    *("pipeline.streams", "pipeline.stream_file", "pipeline.keys", "pipeline.ticks", "pipeline.durations"),
    *("pipeline.kafka.bucket_partition", "pipeline.kafka.judge_partition"),
    *(f"pipeline.kafka.{name}" for name in ("names", "wire", "topics", "ingest_state")),
    *(
        f"pipeline.scoring.{name}"
        for name in ("scorer", "batches", "cache", "template", "engine", "kind", "text_scores", "null_engine")
    ),
    *(f"pipeline.detect.{module.name}" for module in pkgutil.iter_modules(pipeline.detect.__path__)),
    *(f"alerts.{name}" for name in ("retry", "routing", "payload", "webhook", "system_alarm")),
)


def loaded_after_importing(modules: tuple[str, ...]) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after it imported `modules`."""
    program = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_pure_core_imports_no_broker_store_network_or_model_library() -> None:
    assert loaded_after_importing(CORE) & set(FORBIDDEN) == set()


@pytest.mark.parametrize("module", ["pipeline.cli.commands", "pipeline.settings"])
def test_the_command_line_opens_before_anything_heavy_is_imported(module: str) -> None:
    assert loaded_after_importing((module,)) & {"torch", "transformers", "openvino", "faust"} == set()


def test_the_folds_read_no_clock() -> None:
    program = (
        f"import importlib, sys\nfor name in {CORE!r}: importlib.import_module(name)\n"
        "print('pipeline.clock' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
