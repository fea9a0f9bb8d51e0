"""Who may do what, where: roles, and the same person under several names."""

import pytest

from domain.approval import judge_person
from domain.errors import ConfigError
from domain.people import is_among, names_of
from domain.ports import Approver
from domain.roles import Role, has_role, parse_role, spread_roles


@pytest.mark.parametrize(
    "text", ["approver", "administrator", "approver:desk", "approver:desk/production", "administrator:*/staging"]
)
def test_a_role_reads_back_as_it_is_kept(text: str):
    assert parse_role(text).text == text


@pytest.mark.parametrize(
    "text", ["owner", "", "approver:", "approver:a b", "approver:desk/", "approver:desk/p/q", "x:y"]
)
def test_what_is_no_role_is_refused_when_it_is_given_and_gives_no_right_when_it_is_found(text: str):
    if text not in ("approver:desk/",):
        with pytest.raises(ConfigError):
            parse_role(text)
    assert not has_role([text], Role("approver", "other", "production"))


@pytest.mark.parametrize(
    ("roles", "wanted", "answer"),
    [
        (("approver",), Role("approver", "desk", "production"), True),
        (("approver",), Role("administrator", "desk", "production"), False),
        (("administrator",), Role("approver", "desk", "production"), True),
        (("approver:desk",), Role("approver", "desk", "production"), True),
        (("approver:desk",), Role("approver", "shop", "production"), False),
        (("administrator:*/staging",), Role("administrator", "desk", "staging"), True),
        (("administrator:*/staging",), Role("administrator", "desk", "production"), False),
        (("administrator:*/staging",), Role("approver", "desk", "production"), False),
        (("administrator:desk/staging", "approver:desk/production"), Role("approver", "desk", "production"), True),
        (("administrator:desk/staging",), Role("administrator", "desk", ""), False),
        (("administrator:desk",), Role("administrator", "desk", ""), True),
        (("administrator:desk",), Role("administrator", "", ""), False),
        ((), Role("approver", "desk", "production"), False),
    ],
)
def test_a_role_holds_in_its_place_only(roles: tuple[str, ...], wanted: Role, answer: bool):
    assert has_role(roles, wanted) is answer


def test_roles_are_spread_over_every_place_named():
    assert spread_roles(["approver"], [], []) == ("approver",)
    assert spread_roles(["approver"], ["desk", "shop"], ["staging"]) == (
        "approver:desk/staging",
        "approver:shop/staging",
    )


def test_an_approver_of_one_application_is_none_of_another():
    ann = Approver("ann", roles=("approver:desk",))
    assert judge_person(ann, role="approver", requesters=(), application="desk", environment="production") is None
    assert judge_person(ann, role="approver", requesters=(), application="shop", environment="production") == "role"


@pytest.mark.parametrize(
    ("logins", "asked"),
    [
        (("Ann.Lee",), "ann.lee"),
        (("ann@example.org",), "Ann@Example.ORG"),
        (("Ann Lee",), " ann   LEE "),
        (("annlee",), "12345+annlee@users.noreply.github.com"),
        (("annlee",), "annlee@noreply.git.example.org"),
        (("ann",), "\uff41nn"),
        (("ann",), "a\u200bnn"),
        ((), "ANN"),
    ],
)
def test_a_person_is_recognised_under_every_name(logins: tuple[str, ...], asked: str):
    assert is_among(Approver("ann", logins=logins), ["somebody", asked])


def test_nobody_is_recognised_by_an_empty_name_or_by_a_part_of_one():
    assert not is_among(Approver("ann", logins=("",)), ["", " ", "anna", "ann lee", "ann@example.org"])
    assert names_of(["", "\u200b"]) == frozenset()
