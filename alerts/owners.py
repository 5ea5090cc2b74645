"""Whom a run belongs to: a database holds what one deployment says of it, and refuses any other.

Positions in the database point into one data folder, or into the topics of one Kafka deployment. The first that comes
has it.
Raises: errors of the driver; wrap the transaction with `alerts.store.transaction`.
"""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from alerts.tables import runs
from pipeline.errors import ConfigurationError

_KAFKA = "kafka:"


def kafka_owner(cluster: str, prefix: str) -> str:
    """The name of a Kafka deployment."""
    return f"{_KAFKA}{cluster}:{prefix}"


def check_owner(connection: Connection, run: str, me: str) -> None:
    """Raises ConfigurationError when the run belongs to another. `me`: the id of a data folder, or `kafka_owner`."""
    connection.execute(insert(runs).values(run=run, folder=me).on_conflict_do_nothing())
    owner = connection.scalar(select(runs.c.folder).where(runs.c.run == run))
    if owner != me:
        raise ConfigurationError(f"the database belongs to {_named(str(owner))}; {_advice(str(owner), me)}")


def _named(owner: str) -> str:
    if not owner.startswith(_KAFKA):
        return f"another data folder, whose folder.id begins with {owner[:8]}"
    cluster, _, prefix = owner.removeprefix(_KAFKA).partition(":")
    return f"the Kafka deployment with the prefix {prefix} on the cluster {cluster}"


def _advice(owner: str, me: str) -> str:
    theirs, mine = owner.startswith(_KAFKA), me.startswith(_KAFKA)
    if theirs and mine:
        return (
            f"this is {_named(me)}: set TOCSIN_KAFKA and TOCSIN_KAFKA_PREFIX to that one, or TOCSIN_DATABASE_URL to "
            "another database"
        )
    if theirs != mine:
        which = "the Kafka runtime" if mine else "`tocsin up`"
        return f"{which} needs one of its own: set TOCSIN_DATABASE_URL to another database"
    return (
        "set TOCSIN_DATA to that folder, or TOCSIN_DATABASE_URL to another database (if this folder was restored from "
        "that one's backup, restore its folder.id too)"
    )
