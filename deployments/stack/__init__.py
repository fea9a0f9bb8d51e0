"""The embedded stack: everything that Slipway needs on one machine, brought up, looked at and taken down."""
