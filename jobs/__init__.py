"""The commands: one file per verb, each with its help text, a typed ``Config`` and ``run(config) -> exit code``."""
