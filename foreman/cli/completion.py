"""``foreman completion``: what a shell needs to complete commands and options; click has the script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets SHELL complete foreman's commands.

    \b
    Examples:
      eval "$(foreman completion bash)"     in ~/.bashrc
      eval "$(foreman completion zsh)"      in ~/.zshrc, after compinit
      foreman completion fish > ~/.config/fish/completions/foreman.fish
    """  # noqa: D301 -- click needs its \b as it is
    shells = get_completion_class(shell)
    if shells is None:
        raise click.ClickException(f"this click cannot complete for {shell}")
    script = shells(ctx.find_root().command, {}, "foreman", "_FOREMAN_COMPLETE")
    # Not source(): for bash it starts one to look at its version, which need not be the one that will read this.
    click.echo(script.source_template % script.source_vars())
