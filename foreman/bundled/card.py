"""What Ollama's listings say of the bundled model: ``/api/tags``, ``/api/ps`` and ``/api/show``."""

from __future__ import annotations

from typing import Any

from foreman.bundled.model import FILE_SHA256, FILE_SIZE_B, MAX_CONTEXT, NAME

_DETAILS: dict[str, Any] = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "134.52M",
    "quantization_level": "Q4_1",
}

_ENTRY: dict[str, Any] = {"name": NAME, "model": NAME, "size": FILE_SIZE_B, "digest": FILE_SHA256, "details": _DETAILS}

#: From the metadata in the file itself, and the licence on huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct.
_SHOW: dict[str, Any] = {
    "license": "Apache License 2.0",
    "modelfile": f"FROM {NAME}\n",
    "details": _DETAILS,
    "model_info": {
        "general.architecture": "llama",
        "general.basename": "smollm2",
        "general.file_type": 3,
        "general.parameter_count": 134_515_008,
        "llama.block_count": 30,
        "llama.context_length": MAX_CONTEXT,
        "llama.embedding_length": 576,
        "llama.vocab_size": 49_152,
    },
    "capabilities": ["completion"],
}


def tags(modified_at: str) -> dict[str, Any]:
    """``/api/tags``: the one model there is; ``modified_at`` in RFC 3339."""
    return {"models": [_ENTRY | {"modified_at": modified_at}]}


def running(expires_at: str | None, context: int) -> dict[str, Any]:
    """``/api/ps``: the model if it is in memory, until ``expires_at`` (RFC 3339); ``None``: it is not."""
    if expires_at is None:
        return {"models": []}
    return {"models": [_ENTRY | {"expires_at": expires_at, "size_vram": 0, "context_length": context}]}


def show(modified_at: str) -> dict[str, Any]:
    """``/api/show``: the model in detail."""
    return _SHOW | {"modified_at": modified_at}
