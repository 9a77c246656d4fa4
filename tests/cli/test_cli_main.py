"""The menu: what is imported when, how failures become exit codes, adding a command."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from typer.testing import CliRunner

from mezzotint import __version__
from mezzotint.cli import main as cli
from mezzotint.errors import BadInput, RunFailed

HEAVY = ("torch", "numpy", "pydantic", "datasets", "PIL", "sklearn", "torchvision", "yaml")


def mezzotint(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mezzotint", *words], check=False, capture_output=True, text=True, timeout=60
    )


def loaded_after(*words: str) -> set[str]:
    """Names of the heavy packages that are loaded when a command has ended."""
    code = (
        "import atexit, os, sys\n"
        f"atexit.register(lambda: print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        f"sys.argv = ['mezzotint', *{list(words)!r}]\n"
        "from mezzotint.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["list"], ["list", "samplers"], ["list", "--json"], ["data", "--help"]]
)
def test_quick_commands_import_nothing_heavy(words: list[str]) -> None:
    assert loaded_after(*words) == set()


def test_the_import_probe_sees_torch() -> None:
    assert "torch" in loaded_after("doctor", "--json")


def test_importing_the_package_and_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, mezzotint, mezzotint.cli.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_commands_help_is_without_torch() -> None:
    runner = CliRunner()
    assert runner.invoke(cli.app, ["--help"]).exit_code == 0
    names = cli.CommandFolder().list_commands(None)
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom mezzotint.cli.main import app\n"
        f"assert all(CliRunner().invoke(app, [name, '--help']).exit_code == 0 for name in {names!r})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_help_names_every_command() -> None:
    done = mezzotint("--help")
    assert done.returncode == 0
    for name in ("data", "doctor", "list"):
        assert f"\n  {name} " in done.stdout


def test_version() -> None:
    assert mezzotint("--version").stdout == f"mezzotint {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "mezzotint: unknown command 'lst': did you mean list?\n"),
        (["data", "verfy"], "mezzotint: unknown command 'verfy': did you mean verify?\n"),
        (["data", "inspct"], "mezzotint: unknown command 'inspct': did you mean inspect?\n"),
    ],
)
def test_unknown_names_are_one_line_and_exit_2(words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert (result.exit_code, result.stderr, result.stdout) == (2, message, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["list", "--jsn"], "--json"), (["data", "verify"], "pack"), (["doctor", "--device"], "requires an argument")],
)
def test_wrong_options_are_one_line_and_exit_2(words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("mezzotint: ")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Put a function in the place of the command `list`."""

    def add(function: Callable[..., None]) -> None:
        module = ModuleType("mezzotint.cli.commands.list")
        module.__file__ = "list.py"
        module.command = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return add


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BadInput("data.path: no such file"), 2, "mezzotint: data.path: no such file\n"),
        (BadInput("two\nlines"), 2, "mezzotint: two lines\n"),
        (RunFailed("loss is not finite"), 1, "mezzotint: loss is not finite\n"),
        (KeyboardInterrupt(), 130, "mezzotint: interrupted\n"),
    ],
)
def test_failures_on_purpose(
    added: Callable[[Callable[..., None]], None], error: BaseException, code: int, message: str
) -> None:
    def command() -> None:
        raise error

    added(command)
    result = CliRunner().invoke(cli.app, ["list"])
    assert (result.exit_code, result.stderr) == (code, message)


def test_a_defect_is_not_disguised(added: Callable[[Callable[..., None]], None]) -> None:
    def command() -> None:
        raise ZeroDivisionError

    added(command)
    assert isinstance(CliRunner().invoke(cli.app, ["list"]).exception, ZeroDivisionError)


def test_a_command_is_a_function_with_typed_parameters(added: Callable[[Callable[..., None]], None]) -> None:
    def command(name: str, overrides: list[str], count: int = 1) -> None:
        print(name, overrides, count)

    added(command)
    result = CliRunner().invoke(cli.app, ["list", "digits", "a.b=1", "--count", "3", "seed=2"])
    assert result.stdout == "digits ['a.b=1', 'seed=2'] 3\n"


def test_a_new_file_is_a_new_command(tmp_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mezzotint.cli.commands as package

    with open(f"{tmp_path}/say_hello.py", "w") as file:
        file.write("def command() -> None:\n    'Say hello.'\n    print('hello')\n")
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    runner = CliRunner()
    try:
        assert "say-hello  Say hello." in runner.invoke(cli.app, ["--help"]).stdout
        assert runner.invoke(cli.app, ["say-hello"]).stdout == "hello\n"
    finally:
        sys.modules.pop("mezzotint.cli.commands.say_hello", None)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_exits_130() -> None:
    code = (
        "import signal, sys, time, types\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job inherits it ignored
        "module = types.ModuleType('mezzotint.cli.commands.list')\n"
        "def command():\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "module.command, module.__file__ = command, 'list.py'\n"
        "import mezzotint.cli.main as cli\n"
        "sys.modules[module.__name__] = module\n"
        "sys.argv = ['mezzotint', 'list']\n"
        "cli.main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=25)  # less than it would sleep
    assert (process.returncode, stderr) == (130, "mezzotint: interrupted\n")
