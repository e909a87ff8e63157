"""The HTTP API: the only importer of Falcon."""
