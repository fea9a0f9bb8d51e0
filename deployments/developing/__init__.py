"""`slipway dev`: the application in this folder, as its developer has it, with its database behind a load balancer."""
