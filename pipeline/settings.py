"""The settings: one typed object, from a file and the environment.

Order: a value in the environment (`TOCSIN_` and the name in capitals) wins over `tocsin.toml` in the working
directory (or the file that `TOCSIN_CONFIG` names), which wins over the default. Secrets are secret types and
are never printed.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.errors import ConfigurationError

_LIST = 'write a list: ["1.2.3.4", "10.1.0.0/16", "hooks.internal"]'


class Settings(BaseSettings):
    """Everything that an operator can set. Each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="TOCSIN_", extra="forbid", frozen=True)

    data: Path = Field(Path("tocsin-data"), description="folder for the journal, scores and local servers")
    archive: Path | None = Field(None, description="folder of the archive; none: `archive` in the data folder")
    streams: Path | None = Field(None, description="the stream definitions; none: the built-in ones")
    database_url: SecretStr | None = Field(None, description="postgresql://...; none: Tocsin runs its own")
    redis_url: SecretStr | None = Field(None, description="redis://...; none: Tocsin runs its own Valkey")
    secret_key: SecretStr | None = Field(
        None, description="encrypts webhook secrets at rest; none: a key file in the data folder, mode 0600"
    )

    kafka: str | None = Field(None, description="Kafka's bootstrap servers, host:port,...; none: the local runtime")
    kafka_prefix: str = Field(
        "tocsin",
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,79}$",
        description="what all topics and groups begin with, so that deployments share a cluster",
    )
    kafka_replication: int = Field(1, ge=1, le=32767, description="replicas of each topic; 3 in production")
    kafka_raw_partitions: int = Field(
        1, ge=1, le=1024, description="partitions of each source's raw topic, each a clock; fixed when topics are made"
    )
    kafka_signal_partitions: int = Field(
        4, ge=1, le=1024, description="partitions of signals and scores: the most scorers; fixed when topics are made"
    )
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how workers talk to Kafka"
    )
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="mechanism of SASL")
    kafka_user: str | None = Field(None, description="user name for SASL")
    kafka_password: SecretStr | None = Field(None, description="password for SASL")
    kafka_ca: Path | None = Field(None, description="file with the certificates that Kafka's is checked against")
    worker: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
        description="a name of this Kafka worker that no other has and that it keeps over restarts: what a killed one "
        "left half-written is then given up at once, not after ten seconds; none: a new one each time",
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz of a Kafka worker; 0: none"
    )

    host: str = Field("127.0.0.1", description="address that the push API listens on")
    port: int = Field(8787, ge=0, le=65535, description="port of the push API; 0: any free one")
    push_token: SecretStr | None = Field(
        None, description="bearer token for all that is posted to /v1/; needed when host is not a loopback address"
    )
    max_push_bytes: int = Field(16 * 2**20, gt=0, description="largest push, after unpacking")
    push_rate: float = Field(100_000, gt=0, description="items a second that a client may push")

    engine: Literal["auto", "openvino", "onnxruntime", "torch", "null"] = Field(
        "auto", description="what runs the classifier"
    )
    model: Path | None = Field(None, description="folder of a classifier; none: the shipped one")
    base: str | None = Field(
        None, description="folder of the base encoder, or its id on the Hugging Face hub; none: the installed package"
    )
    batch_tokens: int = Field(16_384, gt=0, description="padded tokens in one batch of the classifier")
    cache_entries: int = Field(200_000, gt=0, description="scores kept in memory by masked text")

    buckets: int = Field(1, ge=1, le=1024, description="buckets a stream; fixed when a deployment is made")
    slice_items: int = Field(4096, ge=1, description="most items that are folded in one step")
    checkpoint_s: float = Field(1.0, gt=0, description="seconds between checkpoints at the least")
    raw_retention_days: float = Field(30, gt=0, description="how long the journal and dead letters are kept")
    history_days: float = Field(
        365,
        gt=0,
        description="how long resolved alerts and finished deliveries are kept; raw_retention_days at the least",
    )

    egress_allow: list[str] = Field(
        [], description="networks (CIDR) or hosts that webhooks may reach besides public ones"
    )
    egress_http: bool = Field(False, description="allow webhooks without TLS")

    @property
    def archive_folder(self) -> Path:
        return self.archive or self.data / "archive"


def check_push(settings: Settings) -> None:
    """Raises ConfigurationError when the push API would be open to a network without a token."""
    if not settings.push_token and not _is_loopback(settings.host):
        raise ConfigurationError(
            f"host = {settings.host!r} lets others push: set TOCSIN_PUSH_TOKEN to a long random text, or host to "
            "127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load(path: Path | None = None, **overrides: object) -> Settings:
    """The settings from the environment and `path`. Raises ConfigurationError that names the setting."""
    chosen = path or Path(os.environ.get("TOCSIN_CONFIG", "tocsin.toml"))
    if path is None and "TOCSIN_CONFIG" in os.environ and not chosen.exists():
        raise ConfigurationError(f"TOCSIN_CONFIG names {chosen}, which does not exist")

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, chosen)

    try:
        return FromFile(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        said = f"{first['msg']}; {_LIST}" if name == "egress_allow" else first["msg"]
        raise ConfigurationError(f"setting {name!r} (TOCSIN_{name.upper()} or {chosen}): {said}") from None
    except SettingsError:  # of all settings only one is not read as it stands in the environment
        raise ConfigurationError(f"TOCSIN_EGRESS_ALLOW cannot be read; {_LIST}") from None
    except ValueError as error:  # a broken TOML file
        raise ConfigurationError(f"{chosen}: {error}") from None
