"""Put the commands together into the application that ``taskloom`` and ``python -m taskloom`` start."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from taskloom.cli.compare import compare
from taskloom.cli.demo import demo
from taskloom.cli.fit import fit
from taskloom.cli.methods import methods
from taskloom.cli.predict import predict
from taskloom.cli.report import report

__all__ = ["app", "main"]


def _paragraphs(text: str) -> str:
    """A docstring with one line per paragraph, so that the help is wrapped to the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


app = typer.Typer(
    name="taskloom",
    help="Is it better to learn these tasks together? Compare, train, predict and report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (compare, fit, predict, report, methods, demo):
    app.command(help=_paragraphs(command.__doc__ or ""))(command)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        import taskloom

        typer.echo(f"taskloom {taskloom.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Is it better to learn these tasks together? Compare, train, predict and report."""


def main() -> None:
    """Run the command line on ``sys.argv`` and leave with its exit code.

    Characters that the terminal cannot show (task names may be any text) are replaced, never an error.

    Raises:
        SystemExit: always; 0 on success, 2 on bad input, 130 when stopped by the keyboard.

    Example:
        >>> import sys
        >>> sys.argv = ["taskloom", "--version"]
        >>> try:
        ...     main()
        ... except SystemExit as end:
        ...     end.code  # doctest: +ELLIPSIS
        taskloom ...
        0
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="taskloom")
