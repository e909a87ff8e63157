"""The wake-up calls: which message goes to which actor, over Dramatiq on Redis, and what happens when Redis is away."""
