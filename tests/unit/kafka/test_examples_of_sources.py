"""The configurations for tools that write to raw topics: they can be read, and name topics that Tocsin reads."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from pipeline.kafka import wire
from pipeline.kafka.names import Names
from pipeline.kafka.topics import wanted_topics
from pipeline.settings import Settings
from pipeline.stream_file import parse

ROOT = Path(__file__).parents[3]
STREAM = """
[streams.logs]
kind = "logs"
tick = "1m"
[[streams.logs.sources]]
name = "app"
kind = "push"
"""


def fluent_bit() -> dict[str, dict[str, str]]:
    """The sections by their plugin's name."""
    lines = (ROOT / "examples" / "fluent-bit.conf").read_text().splitlines()
    sections: dict[str, dict[str, str]] = {}
    held: dict[str, str] = {}
    for line in (line.strip() for line in lines):
        if line.startswith("["):
            held = {}
            sections[line.strip("[]").lower()] = held
        elif line and not line.startswith("#"):
            key, value = line.split(None, 1)
            held[key.lower()] = value
    return sections


def vector() -> dict[str, dict[str, dict[str, object]]]:
    return tomllib.loads((ROOT / "examples" / "vector.toml").read_text())


def kafka_connect() -> dict[str, str]:
    found = json.loads((ROOT / "examples" / "kafka-connect.json").read_text())
    assert set(found) == {"name", "config"}
    return found["config"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "topic",
    [fluent_bit()["output"]["topics"], vector()["sinks"]["tocsin"]["topic"], kafka_connect()["topic"]],
    ids=["fluent-bit", "vector", "kafka-connect"],
)
def test_each_tool_writes_to_the_raw_topic_of_a_source(topic: str) -> None:
    settings = Settings(kafka="localhost:9092")
    definitions = parse(STREAM, "a stream with a source named app").streams.values()
    assert topic == Names.of(settings).raw("logs", "app")
    assert topic in {wanted.name for wanted in wanted_topics(settings, definitions)}


def test_the_headers_that_the_tools_set_are_those_that_are_read() -> None:
    known = {name for name, _ in wire.item_headers(form="line", source="web1", id="1", note="why")}
    connect = {value for key, value in kafka_connect().items() if key.endswith(".header")}
    assert connect == {"source", "form"} < known
    remap = str(vector()["transforms"]["named"]["source"])
    assert vector()["sinks"]["tocsin"]["headers_key"] == "headers"
    assert '.headers = { "source": .sender, "form": "line" }' in remap


def test_what_the_page_says_of_the_files_is_in_them() -> None:
    page = (ROOT / "docs" / "kafka-sources.md").read_text()
    for name in ("fluent-bit.conf", "vector.toml", "kafka-connect.json"):
        assert f"../examples/{name}" in page
        assert (ROOT / "examples" / name).exists()


def test_every_name_in_the_transforms_of_kafka_connect_has_a_type() -> None:
    config = kafka_connect()
    for name in config["transforms"].split(","):
        assert config[f"transforms.{name}.type"].endswith(".InsertHeader")


def test_the_sections_of_fluent_bit_are_those_that_it_has() -> None:
    assert set(fluent_bit()) == {"service", "input", "output"}
    assert (fluent_bit()["input"]["tag"], fluent_bit()["output"]["format"]) == (
        fluent_bit()["output"]["match"],
        "raw",
    )
