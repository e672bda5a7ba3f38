"""How the service bears load, beside a bare handler: `python -m benchmarks.load --json`.

Requests come when they come, whether or not the ones before were answered, on a database with many
jobs and facts; then a hundred workers claim, beat and finish jobs; then memory is watched. Its own
database on Postgres, dropped afterwards; everything on loopback and bounded.
"""
