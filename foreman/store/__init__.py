"""Jobs, events and artifacts as the database keeps them, and the bytes of large artifacts beside it."""
