"""How fast the API answers, beside a bare handler with the same query: `python -m benchmarks.api --json`.

Two uvicorn workers each, on one Postgres, in turns within one run. Everything is on loopback, bounded,
and ended by its process id.
"""
