"""Pure decisions: nothing below this package reads a clock, rolls dice or does I/O."""
