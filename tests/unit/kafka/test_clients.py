"""Clients of Kafka: what they are told from the settings, and what they say where no broker answers."""

from __future__ import annotations

import socket

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.kafka.client import connection, consumer_config, kafka_errors
from pipeline.kafka.registry import Registry
from pipeline.settings import Settings


def test_without_a_broker_in_the_settings_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="set TOCSIN_KAFKA"):
        connection(Settings(kafka=None))


def test_sasl_without_a_password_names_both_settings() -> None:
    with pytest.raises(ConfigurationError, match="TOCSIN_KAFKA_USER and TOCSIN_KAFKA_PASSWORD"):
        connection(Settings(kafka="x:9092", kafka_security="SASL_SSL", kafka_user="me"))


def test_sasl_and_certificates_are_told_to_the_client() -> None:
    password = SecretStr("hunter2")
    settings = Settings(kafka="x:9092", kafka_security="SASL_SSL", kafka_user="me", kafka_password=password)
    told = connection(settings)
    assert (told["security.protocol"], told["sasl.username"], told["sasl.password"]) == ("SASL_SSL", "me", "hunter2")


def test_a_consumer_never_jumps_and_reads_committed_records_only() -> None:
    told = consumer_config(Settings(kafka="x:9092"), "a.group")
    assert told["auto.offset.reset"] == "error"
    assert told["isolation.level"] == "read_committed"
    assert told["enable.auto.commit"] is False


def test_a_client_writes_nothing_of_its_own_while_no_broker_answers(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.kafka.registry.CALL_S", 1.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(BrokerUnavailable):
            Registry(Settings(kafka=f"127.0.0.1:{nobody.getsockname()[1]}")).read()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._DESTROY_BROKER, KafkaError.NOT_COORDINATOR])
def test_what_a_client_says_of_a_broker_that_goes_is_waited_for(code: int) -> None:
    with pytest.raises(BrokerUnavailable, match="looking: Kafka does not answer"), kafka_errors("looking"):
        raise KafkaException(KafkaError(code))
