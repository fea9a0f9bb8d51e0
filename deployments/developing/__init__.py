"""`slipway dev`: the application in this folder, with database and middleware, behind a load balancer."""
