"""``python -m jobs VERB``, the same as ``qpert VERB``."""

from jobs.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
