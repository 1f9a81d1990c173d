"""Help is quick, and light in what it imports."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from taskloom.cli import app as application
from taskloom.cli import compare, fit
from taskloom.cli._config import CompareConfig, FitConfig

COMMANDS = ("compare", "fit", "predict", "report", "methods", "demo")
HEAVY = ("torch", "sklearn", "lightning", "plotly", "polars", "optuna", "numpy", "scipy", "narwhals")

runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def modules_after(*arguments: str) -> tuple[str, set[str]]:
    """Output of a command in a fresh process, and the top-level packages it loaded."""
    code = (
        "import sys\n"
        f"sys.argv = ['taskloom', *{list(arguments)!r}]\n"
        "from taskloom.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    print('code', end.code)\n"
        "print('modules', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    *lines, last = done.stdout.splitlines()
    return "\n".join(lines), set(last.split()[1:])


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS)])
def test_help_and_version_load_nothing_heavy(arguments):
    output, modules = modules_after(*arguments)
    assert output.endswith("code 0")
    assert sorted(modules.intersection(HEAVY)) == []
    if arguments == ("--help",):
        assert "pydantic" not in modules


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "taskloom", "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    for name in COMMANDS:
        assert name in done.stdout


def test_no_command_shows_the_help():
    result = runner.invoke(application.app, [])
    assert "compare" in result.output


def test_an_unknown_command_names_the_nearest():
    result = runner.invoke(application.app, ["comprae"])
    assert result.exit_code == 2
    assert "Did you mean 'compare'?" in result.output


def test_an_unknown_option_is_refused():
    result = runner.invoke(application.app, ["compare", "a.csv", "--sedes", "3"])
    assert result.exit_code == 2
    assert "No such option" in result.output


@pytest.mark.parametrize(("command", "config"), [(compare.compare, CompareConfig), (fit.fit, FitConfig)])
def test_defaults_in_the_help_are_those_of_the_configuration(command, config):
    """The help must not load the models, so its defaults are written out; here they are compared."""
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        option = parameter.annotation.__metadata__[0]
        _, said, default = (option.help or "").rpartition("Default: ")
        if said and name in config.model_fields and config.model_fields[name].default is not None:
            assert default.rstrip(".") == str(config.model_fields[name].default), name


def test_every_option_and_argument_has_a_help_text():
    for command in application.app.registered_commands:
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items():
            assert parameter.annotation.__metadata__[0].help, (command.callback.__name__, name)


@pytest.mark.parametrize("command", ["compare", "fit"])
def test_the_resolved_configuration_is_printed_without_reading_anything(command, tmp_path):
    result = runner.invoke(
        application.app, [command, "no such.csv", "-t", "가격", "--kind", "a=b=date", "--print-config"]
    )
    assert result.exit_code == 0
    assert "data: no such.csv" in result.output
    assert "out: taskloom-runs/no such" in result.output
    assert "- 가격" in result.output
    assert "a=b: date" in result.output


def test_a_kind_without_a_column_is_refused():
    result = runner.invoke(application.app, ["compare", "a.csv", "-t", "x", "--kind", "numeric"])
    assert result.exit_code == 2
    assert "expected COLUMN=KIND" in result.stderr
