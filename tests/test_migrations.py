"""Tables and migrations agree, up and down."""

from alembic import command
from sqlalchemy import Engine, inspect

import migrations


def test_models_match_the_newest_migration(engine: Engine) -> None:
    command.check(migrations.config_for(engine))


def test_downgrade_leaves_nothing_and_upgrade_brings_it_back(engine: Engine) -> None:
    command.downgrade(migrations.config_for(engine), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]

    migrations.upgrade(engine)
    assert "jobs" in inspect(engine).get_table_names()
