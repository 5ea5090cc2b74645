"""The migrations of the database, run by `alerts.schema`; a shipped one is never edited."""
