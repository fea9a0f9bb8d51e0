import json
import logging
import sys

from helpdesk.logs import JsonFormatter


def format_record(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "request.%s", "args": ("answered",), "levelname": "INFO", **extra})
    return json.loads(JsonFormatter().format(record))


def test_a_line_has_time_level_event_and_extras():
    line = format_record(status=200, path="/tickets")
    assert line["event"] == "request.answered" and line["level"] == "info"
    assert line["status"] == 200 and line["path"] == "/tickets"
    assert str(line["at"]).endswith("+00:00")


def test_a_line_stays_one_line_whatever_is_in_it():
    record = logging.makeLogRecord({"msg": "a\nb"})
    assert "\n" not in JsonFormatter().format(record)


def test_the_cause_is_in_the_line():
    try:
        raise ValueError("broken")
    except ValueError:
        line = format_record(exc_info=sys.exc_info())
    assert "ValueError: broken" in str(line["error"])
