"""Run by `flask db …`: what `flask db init` makes, for one database, and in fewer lines."""

from __future__ import annotations

from logging.config import fileConfig

from alembic import context
from flask import current_app

if context.config.config_file_name is not None:
    # Without disable_existing_loggers=False it silences every other logger of the process, holdfast's too.
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

migrate = current_app.extensions["migrate"]
engine, metadata = migrate.db.engine, migrate.db.metadata

if context.is_offline_mode():  # flask db upgrade --sql
    context.configure(url=engine.url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, **migrate.configure_args)
        with context.begin_transaction():
            context.run_migrations()
