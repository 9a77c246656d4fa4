"""The `mezzotint` command: finds commands by file, turns failures into one line and an exit code.

The folder is the menu. `cli/commands/train.py` with a function `command` is `mezzotint train`; a package
`cli/commands/data/` with `verify.py` in it is `mezzotint data verify`, and its docstring is the group's help. Adding a
command is adding one such file:

    def command(
        run: Annotated[str, typer.Argument(help="The run's name.")],
        seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    ) -> None:
        \"\"\"Draw pictures from a trained run.\"\"\"
        from mezzotint.runs.run import open_run  # torch and friends: only here, so that --help stays quick
        ...

Declared parameters (other than flags) make typer import pydantic, more than a quick command such as `list` may cost. A
command with a parameter `ctx: typer.Context` finds the words it was given in `ctx.args` instead.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed (`RunFailed`), 2 bad input (`BadInput` or
a wrong option), 130 interrupted.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from mezzotint import __version__
from mezzotint.errors import BadInput, RunFailed, nearest

_COMMANDS = "mezzotint.cli.commands"
_USAGE_ERROR: Any = typer.BadParameter.__base__  # wrong options and missing arguments; typer keeps its name private
_Typers = Any  # typer keeps the classes of its contexts, options and commands private


def _stop(message: object, code: int) -> NoReturn:
    typer.echo(f"mezzotint: {' '.join(str(message).split())}", err=True)
    raise typer.Exit(code)


class _QuickHelp:
    """A command whose unused `--help` is False: typer would import pydantic to make a truth value of None."""

    def get_help_option(self, ctx: _Typers) -> _Typers:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.default = False
        return option


class _QuickCommand(_QuickHelp, TyperCommand):
    pass


def _single(name: str, function: Callable[..., None]) -> _Typers:
    only = typer.Typer(rich_markup_mode=None, add_completion=False)
    if "ctx" in signature(function).parameters:
        words = {"allow_extra_args": True}
        only.command(name, cls=_QuickCommand, context_settings=words, options_metavar="[WORD]... [OPTIONS]")(function)
    else:
        only.command(name)(function)
    return typer.main.get_command(only)


class CommandFolder(_QuickHelp, TyperGroup):
    """The commands in one package, found by file name and imported when asked for."""

    package = _COMMANDS

    def list_commands(self, ctx: object) -> list[str]:
        """Name every command file and group folder, `_` written as `-`."""
        found = Path(import_module(self.package).__path__[0]).iterdir()
        return sorted(entry.stem.replace("_", "-") for entry in found if not entry.stem.startswith(("_", ".")))

    def get_command(self, ctx: object, cmd_name: str) -> _Typers:
        """Import one command; an unknown name is bad input that lists the nearest."""
        known = self.list_commands(ctx)
        if cmd_name not in known:
            raise BadInput(f"unknown command {cmd_name!r}: {nearest(cmd_name, known)}")
        module = import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        if Path(str(module.__file__)).stem != "__init__":
            return _single(cmd_name, module.command)
        group = CommandFolder(name=cmd_name, help=module.__doc__, no_args_is_help=True, rich_markup_mode=None)
        group.package = module.__name__
        return group


def _out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:  # then it isn't a tensor's; click's own Exit comes this way too
        return isinstance(error, MemoryError)
    from mezzotint.memory import out_of_memory

    return out_of_memory(error)


class App(CommandFolder):
    """The top of the menu, where failures on purpose become exit codes."""

    def parse_args(self, ctx: _Typers, args: list[str]) -> list[str]:
        """Answer `--version`; leave the rest to the commands."""
        if args[:1] == ["--version"]:
            typer.echo(f"mezzotint {__version__}")
            raise typer.Exit
        return super().parse_args(ctx, args)

    def invoke(self, ctx: _Typers) -> _Typers:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except _USAGE_ERROR as error:
            _stop(error.format_message(), 2)
        except BadInput as error:
            _stop(error, 2)
        except RunFailed as error:
            _stop(error, 1)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            _stop("out of memory; use fewer or smaller images at once, or a smaller network", 1)
        except KeyboardInterrupt:
            _stop("interrupted", 130)


app = typer.Typer(
    name="mezzotint",
    cls=App,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _about() -> None:
    """Train, sample, evaluate and compare image generative models, and know which one is better.

    `mezzotint COMMAND --help` explains a command, `mezzotint --version` prints the version.
    """


def main() -> None:
    """Run the command line: what the installed `mezzotint` calls."""
    app(prog_name="mezzotint")
