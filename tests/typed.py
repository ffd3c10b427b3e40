"""The command line, as a person types it."""

from click.testing import Result
from typer.testing import CliRunner

from unmask.cli.main import app


def typed(*words: object, width: int | None = None) -> Result:
    """What a command writes and how it ends; the two streams apart.

    Args:
        words: of the command.
        width: columns of the terminal.
    """
    columns = None if width is None else {"COLUMNS": str(width)}
    done = CliRunner().invoke(app, [*map(str, words)], env=columns)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done
