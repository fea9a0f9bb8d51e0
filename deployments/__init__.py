"""Where and when things run: environments, the embedded stack, the webhook door, the command line."""
