"""Who did what that cannot be undone, or let something out: a row for each request of these kinds."""
