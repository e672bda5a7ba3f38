"""A linter beside the validator: what is valid, and yet hardly meant. It changes nothing."""
