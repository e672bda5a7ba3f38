"""How fast the API answers, beside a bare handler with the same query: `python -m benchmarks.api --json`.

Two uvicorn workers each, on one Postgres, in turns within one run. Then how many clients one process
tells of events, and how long polls take while a job trains: both on SQLite. Everything is on loopback,
bounded, and ended by its process id.
"""
