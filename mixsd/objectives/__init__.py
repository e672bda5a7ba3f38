"""What a step trains on where that is more than stored targets: rollouts, and answers of the base."""
