"""`[middleware]` of `slipway.toml`: what it asks for, and what an environment needs because of it."""

import pytest

from domain.application import ApplicationFile, parse_application
from domain.errors import ConfigError

SMALLEST = """
[application]
name = "shop"
[[check]]
name = "unit"
command = ["true"]
[service]
command = ["serve"]
"""


def read(middleware: str = "", service: str = "") -> ApplicationFile:
    return parse_application(SMALLEST + service + "\n" + middleware)


def test_none_is_asked_for_unless_the_file_says_so():
    assert read().middleware.variables == ()
    assert read().secrets_needed({}) == ()


def test_each_key_asks_for_its_variable():
    assert read("[middleware]\nredis = true").middleware.variables == ("REDIS_URL",)
    assert read("[middleware]\nrabbitmq = true").middleware.variables == ("AMQP_URL",)


@pytest.mark.parametrize("wrong", ["kafka = true", 'redis = "7.0"', "redis = 3"])
def test_other_keys_and_values_are_refused_with_what_is_allowed(wrong: str):
    with pytest.raises(ConfigError, match=r"middleware.*slipway-toml\.md"):
        read(f"[middleware]\n{wrong}")


def test_an_unknown_key_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown key 'middleware.kafka' \(allowed here: rabbitmq, redis\)"):
        read("[middleware]\nkafka = true")


def test_an_environment_needs_the_addresses_that_are_set_nowhere_else():
    both = "[middleware]\nredis = true\nrabbitmq = true"
    assert read(both).secrets_needed({}) == ("REDIS_URL", "AMQP_URL")
    assert read(both).secrets_needed({"REDIS_URL": "redis://cache/0"}) == ("AMQP_URL",)
    assert read(both, 'secrets = ["AMQP_URL"]\nconfig = ["REDIS_URL"]').secrets_needed({}) == ("AMQP_URL",)
