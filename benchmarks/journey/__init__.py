"""What the journey costs: from a push to `ci`, from a click to the effect, and what a rollout loses."""
