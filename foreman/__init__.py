"""A durable queue, state webhooks and stored artifacts in front of a local language model server."""

__version__ = "0.1.0"
