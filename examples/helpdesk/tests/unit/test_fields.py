import pytest
from helpdesk.fields import FieldError, make_slug, read_choice, read_email, read_page, read_text


def test_text_is_trimmed_and_line_ends_are_unix():
    assert read_text({"body": "  one\r\ntwo \n"}, "body", length_max=20) == "one\ntwo"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is required"),
        ("   ", "must not be empty"),
        (7, "must be a text"),
        ("x" * 21, "21 characters"),
        ("a\x00b", "NUL"),
    ],
)
def test_a_text_that_we_cannot_take_says_why(value: object, problem: str):
    with pytest.raises(FieldError, match=problem) as caught:
        read_text({"body": value}, "body", length_max=20)
    assert caught.value.field == "body"


def test_the_longest_text_allowed_is_taken():
    assert len(read_text({"body": "x" * 20}, "body", length_max=20)) == 20


def test_an_absent_text_takes_the_default():
    assert read_text({}, "name", length_max=20, default="nobody") == "nobody"


def test_email_is_lower_case():
    assert read_email({"email": " Ann@Example.COM "}, "email") == "ann@example.com"


@pytest.mark.parametrize(
    "address", ["ann", "ann@", "@example.com", "ann@example", "a b@example.com", "a@b@example.com"]
)
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(FieldError, match="not an e-mail address"):
        read_email({"email": address}, "email")


def test_a_choice_names_what_is_allowed():
    with pytest.raises(FieldError, match="'urgent' is not one of: low, high"):
        read_choice({"priority": "urgent"}, "priority", ("low", "high"))


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "²"])
def test_pages_start_at_one(page: str):
    with pytest.raises(FieldError, match="start at 1"):
        read_page({"page": page})


@pytest.mark.parametrize(
    ("title", "slug"),
    [("How do I pay?", "how-do-i-pay"), ("  A -- b ", "a-b"), ("打印机", "article"), ("x" * 200, "x" * 80)],
)
def test_slugs_are_addresses(title: str, slug: str):
    assert make_slug(title) == slug
