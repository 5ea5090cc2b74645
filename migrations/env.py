"""How alembic runs the migrations: on the connection of `alerts.schema`, within its transaction."""

from alembic import context

from alerts.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
