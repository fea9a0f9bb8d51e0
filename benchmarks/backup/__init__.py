"""Backups against the bare tools, in one run."""
