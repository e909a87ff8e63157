"""What foreman brings along for a machine with nothing else installed: a language model and a Redis-protocol server."""
