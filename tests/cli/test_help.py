"""The command group: help is light, and every error is a sentence with its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import click
import pytest

from pgv_jax.cli import main as cli
from pgv_jax.errors import PgvError

HEAVY = {"jax", "transformers", "tensorflow_datasets", "torch"}


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


@pytest.fixture
def failing(monkeypatch):
    """Put a command `fail` in the place of every command; it raises what it is given."""

    def install(error: BaseException) -> None:
        @click.command("fail")
        def fail() -> None:
            raise error

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: fail)

    return install


WORDS = ("", *cli.COMMANDS, "export torch")

ASK = """
import json, os, sys
import pgv_jax.cli.main as cli

for words in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        try:
            cli.main([*words.split(), "--help"])
        except SystemExit as end:
            print("\\nEND", json.dumps([words, end.code, sorted(sys.modules)]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def helps(run_python) -> dict[str, tuple[str, int | None, set[str]]]:
    """What each command's help says, its exit status, and which modules are loaded then.

    Each in a process of its own, which is forked where nothing but the group is loaded.
    """
    said = run_python(ASK, args=(json.dumps(WORDS),)).stdout
    asked, begin = {}, 0
    for end in re.finditer(r"\nEND (.*)\n", said):
        words, status, modules = json.loads(end[1])
        asked[words] = (said[begin : end.start()], status, set(modules))
        begin = end.end()
    return asked


@pytest.mark.parametrize("words", WORDS)
def test_help_imports_nothing_heavy(helps, words):
    text, status, modules = helps[words]
    assert status == 0
    assert text.startswith(" ".join(["Usage: pgv", *words.split()]))
    assert not HEAVY & modules
    # The process was one that ran this help alone.
    where = {n: f"pgv_jax.cli.commands.{c.target.split(':')[0]}" for n, c in cli.COMMANDS.items()}
    assert set(where.values()) & modules == {where[w] for w in words.split()[:1]}


def test_help_of_evaluate_loads_no_arrays_either(helps):
    assert not {"sklearn", "numpy"} & helps["evaluate"][2]


def test_group_help_names_every_command_in_the_order_of_the_story(capsys):
    code, out, _ = run(capsys, "--help")
    listed = [line.split()[0] for line in out.split("Commands:\n")[1].splitlines()]
    assert code == 0
    assert listed == list(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_there(name):
    command = cli.pgv.get_command(click.Context(cli.pgv), name)
    assert isinstance(command, click.Command)
    assert command.help


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out) == (0, "pgv, version 0.1.0\n")


def test_an_unknown_command_names_the_near_miss(capsys):
    code, _, err = run(capsys, "trian")
    assert code == 2
    assert "Did you mean 'train'?" in err


def test_a_user_error_is_one_sentence(capsys, failing):
    failing(PgvError("data.jsonl:3: steps: is empty; remove the line."))
    assert run(capsys, "train") == (
        2,
        "",
        "Error: data.jsonl:3: steps: is empty; remove the line.\n",
    )


def test_an_interrupt_says_how_to_continue(capsys, failing):
    failing(KeyboardInterrupt())
    code, _, err = run(capsys, "train")
    assert code == 130
    assert err.strip() == "Interrupted. Run the same command again to continue.\n  pgv train"


def test_an_unexpected_error_is_one_sentence_that_names_it(capsys, failing):
    failing(ZeroDivisionError("division\nby zero"))
    code, out, err = run(capsys, "train", "a b")
    assert code == 2  # click: the command takes no argument
    code, out, err = run(capsys, "train")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "ZeroDivisionError in main.py:" in err
    assert "division by zero" in err
    assert err.endswith("pgv --debug train\n")


@pytest.mark.parametrize("platform", ["rocm", "nosuch"])
def test_a_device_that_jax_cannot_start_is_a_sentence(run_python, platform):
    """JAX raises a bare AssertionError for a platform that it knows, and a RuntimeError else."""
    code = (
        f"import os; os.environ['JAX_PLATFORMS'] = '{platform}'\n"
        "import click, jax, pgv_jax.cli.main as cli\n"
        "cli.LazyGroup.get_command = lambda *_: click.Command('train', callback=jax.devices)\n"
        "cli.main(['train'])"
    )
    done = run_python(code, check=False)
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"Error: JAX_PLATFORMS is '{platform}', and JAX can start no such ")
    assert said.endswith("or unset JAX_PLATFORMS.")


def test_an_error_elsewhere_is_not_laid_to_the_device(capsys, failing, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    failing(RuntimeError("a bug"))
    code, _, err = run(capsys, "train")
    assert code == 1 and "unexpected RuntimeError" in err


def test_debug_shows_the_traceback(capsys, failing):
    failing(ZeroDivisionError("division by zero"))
    code, _, err = run(capsys, "--debug", "train")
    assert code == 1
    assert err.startswith("Traceback (most recent call last)")
    assert err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.slow
def test_a_signal_ends_a_running_command_with_130():
    code = (
        "import signal, click, pgv_jax.cli.main as cli\n"
        "def wait(): print('ready', flush=True); signal.pause()\n"
        "cli.LazyGroup.get_command = lambda *_: click.Command('wait', callback=wait)\n"
        "cli.main(['train'])"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
    assert child.returncode == cli.INTERRUPTED
    assert err.strip() == "Interrupted. Run the same command again to continue.\n  pgv train"


def test_a_closed_pipe_is_not_an_error():
    code = "import pgv_jax.cli.main as cli; cli.main(['--help'])"
    read_end, write_end = os.pipe()
    os.close(read_end)
    child = subprocess.run([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert child.stderr == b""


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("a\0b", "holds a NUL character"),
        ("a\ud800b", "is not UTF-8 text"),
        ("a\udcffb", "is not UTF-8 text"),
        ("x" * 5000, "is too long"),
        ("x" * 300, "is too long"),
    ],
    ids=["nul", "surrogate", "byte", "long path", "long name"],
)
def test_arguments_that_no_path_can_be_are_sentences(capsys, argument, words):
    code, _, err = run(capsys, "describe", argument)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err and "unexpected" not in err


def test_words_of_others_are_inert_in_an_error(capsys, failing):
    failing(PgvError("role '\x1b]0;title\x07\x1b[31m\x9b31m\u202e' is unknown"))
    assert run(capsys, "train")[2] == (
        "Error: role '\\x1b]0;title\\x07\\x1b[31m\\x9b31m\\u202e' is unknown\n"
    )
