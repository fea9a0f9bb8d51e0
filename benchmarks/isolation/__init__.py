"""What isolation costs a check."""
