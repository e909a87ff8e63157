"""The command ``foreman``: everything on one machine, one process of it, and the look from outside."""
