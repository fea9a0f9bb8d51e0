"""What Prometheus may ask: requests by route, the pool, and what the desk did."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("helpdesk_http_requests", "Answers.", ["method", "route", "status"])
SECONDS = Histogram(
    "helpdesk_http_request_seconds",
    "Seconds from request to the end of the answer.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10),
)
RUNNING = Gauge("helpdesk_http_requests_running", "Requests being answered now.")
POOL_SIZE = Gauge("helpdesk_database_connections", "Connections of this process's pool.")
POOL_WAITING = Gauge("helpdesk_database_waiting", "Requests that wait for a connection.")
TICKETS_OPENED = Counter("helpdesk_tickets_opened", "Tickets opened by this process.", ["through"])
COMMENTS_ADDED = Counter("helpdesk_comments_added", "Comments added by this process.", ["side"])
BUILD = Gauge("helpdesk_build_info", "Always 1; what runs.", ["release", "commit"])
