"""What an adapter gained and what it lost."""
