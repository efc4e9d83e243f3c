"""How alembic runs a migration: on the connection that ``storage.migrate`` gives it, inside its transaction."""

from alembic import context

from xmcgan.study.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
context.run_migrations()
