"""The tables of outlooks, in the schema `usage`: the newest of each resource, all advice of a time, open alerts."""

OUTLOOK_TABLES = """
CREATE TABLE IF NOT EXISTS usage.outlook (
    resource text PRIMARY KEY,
    place integer NOT NULL,
    at timestamptz NOT NULL,
    run text NOT NULL,
    used double precision,
    "limit" double precision,
    limit_source text NOT NULL DEFAULT '',
    threshold_ratio double precision,
    lead_days double precision,
    step_s integer NOT NULL,
    start timestamptz,
    mean real[],
    lo80 real[],
    hi80 real[],
    lo95 real[],
    hi95 real[],
    back_test json,
    probability double precision,
    days integer NOT NULL,
    crosses_on date,
    crosses_lo80 date,
    crosses_hi80 date,
    answer json NOT NULL,
    remarks json NOT NULL
);
CREATE TABLE IF NOT EXISTS usage.advice (
    run text NOT NULL,
    resource text NOT NULL,
    what text NOT NULL,
    at timestamptz NOT NULL,
    move text NOT NULL,
    now double precision NOT NULL,
    wanted double precision NOT NULL,
    reason json NOT NULL,
    cost_per_month double precision,
    parameters json NOT NULL,
    settled boolean NOT NULL,
    PRIMARY KEY (run, resource, what)
);
CREATE INDEX IF NOT EXISTS advice_by_time ON usage.advice (at);
CREATE TABLE IF NOT EXISTS usage.alert (
    resource text PRIMARY KEY,
    opened_at timestamptz NOT NULL,
    told boolean NOT NULL DEFAULT false
);
"""
