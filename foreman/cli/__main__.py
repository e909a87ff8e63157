"""``python -P -m foreman.cli``: how ``foreman up`` starts foreman's own processes, wherever the script is."""

from __future__ import annotations

from foreman.cli.main import main

if __name__ == "__main__":
    main(prog_name="foreman")
