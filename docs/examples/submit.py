"""Submits a job, shows its text as it comes, and keeps its result: python submit.py http://127.0.0.1:8420 MODEL."""

from __future__ import annotations

import sys

from foreman.client import Client, Gap, JobFailed, Restarted, StateReached, Text


def main(url: str, model: str) -> int:
    """0 if the job is done, 1 if it failed."""
    chat = {"model": model, "messages": [{"role": "user", "content": "Why do people queue? In one sentence."}]}
    with Client(url) as foreman:
        job_id = foreman.submit(chat, metadata={"example": "submit.py"}).job_id
        for event in foreman.follow(job_id):
            match event:
                case StateReached():
                    print(f"[{event.state}]")
                case Text():
                    print(event.content, end="\n" if event.line.get("done") else "", flush=True)
                case Restarted():
                    print("\n[once more from the beginning]")
                case Gap():
                    print("\n[text is missing here]")
        try:
            result = foreman.result(job_id)
        except JobFailed as error:
            print(f"{error.code}: {error.message}", file=sys.stderr)
            return 1
        artifact = foreman.download(job_id, f"{job_id}.json")
    print(f"{result['eval_count']} tokens, kept in {job_id}.json ({artifact.size_b} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
