"""Copies of a whole service, made while it runs, and put back elsewhere: `mixsd backup`, `mixsd restore`.

A backup is a folder: rows as JSON lines, a file for each table, so that it fits every database; the files
of adapters under their sha256; checkpoints of jobs that go on; and a manifest of the digests of all that.
"""
