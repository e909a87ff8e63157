"""The least that delivering webhooks must do: threads that each post with urllib3 and commit that it was delivered.

Reads ``{"urls", "each", "threads", "database"}`` as JSON and returns when ``each`` events have gone to every URL.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import sys
import threading

import urllib3

#: As large as foreman's events are without an artifact.
_BODY = json.dumps({"id": "x" * 33, "filler": "y" * 500}).encode()


def main() -> None:
    """Deliver everything once."""
    asked = json.load(sys.stdin)
    database = sqlite3.connect(asked["database"], isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=wal", "synchronous=full"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, status INTEGER)")
    urls = asked["urls"] * asked["each"]
    database.executemany("INSERT INTO events (status) VALUES (?)", [(None,)] * len(urls))
    [last] = database.execute("SELECT MAX(id) FROM events").fetchone()
    waiting: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    for row in enumerate(urls, last - len(urls) + 1):
        waiting.put(row)
    turn = threading.Lock()
    pool = urllib3.PoolManager(num_pools=len(asked["urls"]), maxsize=asked["threads"])

    def send() -> None:
        while True:
            try:
                event, url = waiting.get_nowait()
            except queue.Empty:
                return
            answer = pool.request("POST", url, body=_BODY, headers={"Content-Type": "application/json"}, retries=False)
            with turn:
                database.execute("UPDATE events SET status = ? WHERE id = ?", (answer.status, event))

    threads = [threading.Thread(target=send) for _ in range(asked["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
