"""Calls that leave the process over HTTP: the upstream and the webhook receivers. The only importer of urllib3."""
