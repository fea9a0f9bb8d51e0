"""Everything on an empty folder, from the recovery kit and the bucket alone: `slipway recover`, and its drill."""
