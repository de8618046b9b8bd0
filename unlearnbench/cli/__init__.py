"""The command line. Commands live in one module a group and are imported only when they are called."""

from __future__ import annotations

import importlib
import sys
import traceback

import click

from unlearnbench.errors import ExitCode, UserError

COMMANDS = {
    "run": "unlearnbench.cli.run",
    "leaderboard": "unlearnbench.cli.leaderboard",
    "compare": "unlearnbench.cli.compare",
    "calibrate": "unlearnbench.cli.calibrate",
    "agreement": "unlearnbench.cli.agreement",
    "gate": "unlearnbench.cli.gate",
    "published": "unlearnbench.cli.published",
    "merge": "unlearnbench.cli.merge",
    "edit": "unlearnbench.cli.edit",
    "list": "unlearnbench.cli.catalogue",
    "show": "unlearnbench.cli.catalogue",
    "plugins": "unlearnbench.cli.catalogue",
    "new": "unlearnbench.cli.new",
    "check": "unlearnbench.cli.check",
    "lint": "unlearnbench.cli.lint",
    "store": "unlearnbench.cli.store",
    "env": "unlearnbench.cli.env",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; suggest the nearest one for a misspelt name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from unlearnbench.plugins import unknown

            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unlearnbench")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
def cli(verbose: bool) -> None:
    """Compare methods that remove concepts from text-to-image diffusion models.

    \b
    unlearnbench run --method alphaedit      edit, sample, score, and show the board
    unlearnbench list methods                what can be run
    """  # noqa: D301  click wants the character itself


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; every mistake of a user is two lines on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verbose = "-v" in arguments[:1] or "--verbose" in arguments[:1]
    try:
        code = cli.main(arguments, prog_name="unlearnbench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
    except UserError as error:
        _fail(error.what, error.hint, error.exit_code, verbose)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "unlearnbench"
        _fail(error.format_message().replace("\n", " "), f"Type `{command} --help`.", ExitCode.USAGE, verbose)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", "What is finished is stored: type the same command to go on.", ExitCode.INTERRUPTED, False)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone: nothing to say, and nobody to say it to
        sys.exit(ExitCode.FAILED)


def _fail(what: str, hint: str, code: ExitCode, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()
    click.echo(f"{click.style('error:', fg='red', bold=True)} {what}\n{hint}", err=True)
    sys.exit(int(code))
