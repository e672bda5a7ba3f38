"""What was learned, and what was lost."""
