"""docs/reference/configuration.md says what schema and roles say, and every key is explained there."""

from __future__ import annotations

import pytest

from tests.checks import reference
from tests.checks.reference import document
from tests.checks.reference.variables import setting, variables_of


def test_page_in_the_repository_is_up_to_date() -> None:
    written = reference.CONFIGURATION.read_text(encoding="utf-8")
    assert written == document.render(), "write it anew: make reference"


@pytest.mark.parametrize("part", document.PARTS, ids=lambda part: part.party)
def test_every_key_has_a_meaning_and_every_variable_of_a_role_is_one_that_its_users_may_set(
    part: document.Part,
) -> None:
    known = document.known_variables(part)
    for key, names in document.rows(part):
        assert key.meaning or key.path == "role", key.path
        for name in names or ():
            assert name.partition(".")[0].removesuffix("[]") in known, f"{key.path}: {name}"


def test_variables_are_read_from_conditions_loops_maps_and_joins_of_a_template() -> None:
    template = """\
{{ ansible_managed | comment }}
plain: {{ r_plain | bool }}
named: {{ secret.name }}-{{ __r_own }}
{% if r_more is defined %}
more: {a: {{ r_more.a }}, b: fixed}
{% endif %}
list:
{% for one in r_list | selectattr('x') %}
  - {{ 'nai' if one.nai is defined else 'home' }}: {{ one.nai | default(one.home) }}
    sa: {spi: {{ one.spi }}}
{% else %}
  []
{% endfor %}
map:
{% for type, what in r_map | dictsort %}
  {{ type }}: {{ what }}
{% endfor %}
joined: {{ r_joined | combine({'accept': r_joined_accept}) }}
"""
    found = variables_of(template, {"r_plain", "r_more", "r_list", "r_map", "r_joined", "r_joined_accept"})
    assert found == {
        "plain": ["r_plain"],
        "named": [],
        "more.a": ["r_more.a"],
        "more.b": [],
        "list[].nai": ["r_list[].nai", "r_list[].home"],
        "list[].home": ["r_list[].nai", "r_list[].home"],
        "list[].sa.spi": ["r_list[].spi"],
        "map": ["r_map"],
        "joined": ["r_joined", "r_joined_accept"],
    }
    assert setting("joined.form", found) == ["r_joined.form"]
    assert setting("joined.accept[].form", found) == ["r_joined_accept[].form"]
    assert setting("more.c", found) is None
