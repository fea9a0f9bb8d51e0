"""The webhook door: takes what forges send, keeps it, answers in milliseconds; starts `ci` when Prefect can take it."""
