"""`slipway doctor`: looks at everything from the ground up, and names the first broken thing and what mends it."""
