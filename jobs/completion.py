"""Print a script that completes qpert's verbs, options and their values in a shell.

Examples:
  qpert completion bash > ~/.local/share/bash-completion/completions/qpert
  qpert completion zsh > ~/.zfunc/_qpert          (with fpath+=~/.zfunc before compinit in ~/.zshrc)
  qpert completion fish > ~/.config/fish/completions/qpert.fish
  eval "$(qpert completion bash)"                 only in this shell

The script is complete in itself: pressing Tab starts no Python. Print it again after an update of qpert. The folders
must exist (mkdir -p); a new shell reads the script.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.cli.app import verbs


class Config(BaseModel):
    """The options of ``qpert completion``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shell: Literal["bash", "zsh", "fish"] = Field(
        description="bash, zsh or fish", json_schema_extra={"positional": True}
    )


def run(config: Config) -> int:
    """Prints the script."""
    from jobs.cli.completing import completion_script  # imports the options of every command

    print(completion_script(config.shell, verbs()), end="")
    return 0
