"""The commands. What is heavy is imported inside the command that needs it."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from unmask.cli.compare import compare
from unmask.cli.demo import demo
from unmask.cli.dynamics import dynamics
from unmask.cli.errors import DEBUG, UNEXPLAINED, told_as_line
from unmask.cli.explain import explain
from unmask.cli.gallery import gallery
from unmask.cli.methods import cite, methods, show
from unmask.cli.plan import plan
from unmask.cli.query import query
from unmask.cli.report import report
from unmask.cli.run import run

app = typer.Typer(
    name="unmask",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(demo, explain, compare, plan, run, report, dynamics, query),
    *(methods, show, cite, gallery),
):
    app.command()(command)


def _version(asked: bool) -> bool:
    if asked:
        from unmask import __version__

        print(__version__)
        raise typer.Exit
    return asked


@app.callback()
def unmask(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What does this network know, on this input, and why believe the answer?

    Start with [bold]unmask demo[/bold], then explain a model of your own:
    [bold]unmask explain my_models:resnet photo.jpg[/bold]
    """
    DEBUG.set(debug)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. --debug may stand anywhere.

    Args:
        arguments: by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in given:
        given = ["--debug", *(part for part in given if part != "--debug")]
    try:
        code = app(given, prog_name="unmask", standalone_mode=False)
    except typer.TyperException as error:
        if not error.format_message():  # no command at all: the help has been shown
            sys.exit(error.exit_code)
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "unmask"
        text = error.format_message()
        told_as_line(f"{text}{'' if text.endswith(('.', '?')) else '.'} See `{path} --help`.")
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(UNEXPLAINED)
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
