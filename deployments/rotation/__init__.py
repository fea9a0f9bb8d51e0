"""`slipway rotate`: each credential of the installation replaced while waiting gates wait; killed, it is run again."""
