"""`slipway upgrade`: a running installation to this version, with a copy to go back to; or refused with the reason."""
