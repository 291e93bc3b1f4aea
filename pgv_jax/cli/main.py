"""The command group, and how an error becomes a sentence and an exit status."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from pgv_jax import __version__
from pgv_jax.cli.arguments import check_arguments
from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.errors import PgvError

INTERRUPTED = 130
"""128 + SIGINT, the shells' convention."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk, a quota or a limit says that is used up."""


class Command(NamedTuple):
    """Where in ``commands`` it is (``module:function``), and what the group's help says of it."""

    target: str
    help: str


COMMANDS = {
    "quickstart": Command(
        "quickstart:quickstart", "A model's log, a critic, and better play: all of it."
    ),
    "fit": Command("fit:fit", "From logs to a verdict: import, learn, judge."),
    "collect": Command("collect:collect", "Play a task often; keep the episodes."),
    "import": Command("importing:import_", "Turn agent logs into a dataset."),
    "describe": Command("describe:describe", "Say what is in a dataset or a log."),
    "show": Command("show:show", "Show one episode step by step, as a page."),
    "summarize": Command(
        "summarize:summarize", "Let a model write observations as progress notes."
    ),
    "embed": Command("embed:embed", "Embed each distinct text of a dataset once."),
    "train": Command("train:train", "Train a critic as a config says; resumes."),
    "score": Command("score:score", "Add a critic's values to a file of pairs."),
    "evaluate": Command("evaluate:evaluate", "Judge a critic on held-out tasks."),
    "rollout": Command("rollout:rollout", "Run an agent that a critic may guide."),
    "serve": Command("serve:serve", "Let the critic choose the answers of a model's API."),
    "mcp": Command("serve:mcp", "Let an agent ask the critic by itself (MCP)."),
    "iterate": Command(
        "iterate:iterate", "Play, learn, play with what was learned, again and again."
    ),
    "compare": Command(
        "compare:compare", "Put rollouts side by side, with intervals and paired tests."
    ),
    "export": Command("export:export", "Write a critic for PyTorch, ONNX or plain JAX."),
    "import-critic": Command(
        "export:import_critic", "Turn a PyTorch critic back into an artifact."
    ),
}
"""In the order of the story, which is also the order of the help."""


class LazyGroup(click.Group):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the table's order rather than the alphabet's."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None for a name that the table does not have."""
        if cmd_name not in COMMANDS:
            return None
        name, _, function = COMMANDS[cmd_name].target.partition(":")
        module = importlib.import_module(f"pgv_jax.cli.commands.{name}")
        command: click.Command = getattr(module, function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a near miss is looked up in the table."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.exceptions.NoSuchCommand(name, possibilities=list(COMMANDS), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table; click's own would import every command for its help line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected error.")
@click.version_option(__version__, prog_name="pgv")
def pgv(debug: bool) -> None:
    """Learn a goal-conditioned critic from agent logs, and let it guide an API model.

    Start with `pgv quickstart`. With logs of your own: fit, or import, embed, train, evaluate.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run ``pgv`` and exit: 0 done, 1 unexpected error, 2 wrong input, 130 interrupted."""
    arguments = list(sys.argv[1:] if args is None else args)
    keep_compiled()
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        check_arguments(arguments)
        status = pgv.main(arguments, prog_name="pgv", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PgvError as error:
        _say(f"Error: {error}")
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted. Run the same command again to continue.")
        _say(f"  pgv {shlex.join(arguments)}")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`pgv ... | head`) has what it wanted; also spare the last flush.
        sys.stdout = None
        return 1
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            name = str(error.filename)
            _say(f"Error: the path '{name[:60]}...' is too long ({len(name)} characters).")
            return 2
        if error.errno not in FULL:
            return _unexpected(error, arguments)
        _say(
            f"Error: {error.filename or 'A file'} could not be written: {error.strerror}. What was "
            "complete before is kept; make room and run the same command again."
        )
        return 1
    except Exception as error:
        return _unexpected(error, arguments)


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """One sentence that names the exception and where it came from; --debug shows the rest."""
    if _asks_for_debug(arguments):
        traceback.print_exception(error)
        return 1
    if absent := _absent_platform():
        _say(f"Error: {absent}")
        return 2
    what = " ".join(str(error).split()).rstrip(".")
    reason = f": {what}" if what else ""
    _say(
        f"Error: unexpected {type(error).__name__} in {_place(error)}{reason}. "
        f"For the traceback: pgv --debug {shlex.join(arguments)}"
    )
    return 1


def _absent_platform() -> str | None:
    """What is wrong where JAX cannot start what JAX_PLATFORMS names; else None.

    Asked after an error alone: it is then the error's reason, wherever JAX was first used.
    """
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked or "jax" not in sys.modules:
        return None
    try:
        sys.modules["jax"].devices()
    except (AssertionError, RuntimeError) as error:  # where nothing of the kind is installed: bare
        reason = " ".join(str(error).split()).rstrip(".")
        return (
            f"JAX_PLATFORMS is '{asked}', and JAX can start no such device here"
            f"{f': {reason}' if reason else ''}. Check the driver and that JAX has a build for the "
            "device (docs/install.md: the extras cuda13 and tpu), or unset JAX_PLATFORMS."
        )
    return None


def _place(error: Exception) -> str:
    """``file:line``, the innermost one that is ours: a frame inside a library tells less."""
    package = Path(__file__).parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(package)]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _asks_for_debug(arguments: list[str]) -> bool:
    # Before the command's name only: after it, --debug is the command's to accept or refuse.
    for argument in arguments:
        if not argument.startswith("-"):
            return False
        if argument == "--debug":
            return True
    return False


def _say(sentence: str) -> None:
    from pgv_jax.cli.console import say  # rich is loaded only where there is something to say

    say(sentence, err=True)


if __name__ == "__main__":
    main()
