"""Whether what the service has written is whole and agrees with itself: `mixsd fsck`. Changes nothing.

One snapshot of the database, and the files that it names. Each check is a few statements over whole
tables, read in batches.
"""
