from __future__ import annotations

import pytest
from pydantic import ValidationError

from demosearch._common.settings import Settings
from demosearch.errors import UserError


class Oven(Settings):
    degrees: int = 180
    fan: bool = False


class Kitchen(Oven):
    tables: int = 1


def test_keywords_win_over_a_value() -> None:
    assert Oven.of() == Oven()
    assert Oven.of(Oven(degrees=200, fan=True), fan=False) == Oven(degrees=200)


def test_fields_of_a_subclass_are_ignored() -> None:
    oven = Oven.of(Kitchen(degrees=90, tables=3))
    assert type(oven) is Oven
    assert oven.degrees == 90


def test_wrong_keywords_are_errors_of_one_line() -> None:
    with pytest.raises(UserError, match="unknown setting 'degree'; did you mean 'degrees'"):
        Oven.of(degree=1)
    with pytest.raises(UserError, match="degrees must be an integer but got 'hot'"):
        Oven.of(degrees="hot")


def test_half_of_a_surrogate_pair_is_refused() -> None:
    class Named(Settings):
        name: str | None = None

    with pytest.raises(UserError, match=r"^name must be valid Unicode but got 'a\\ud800'"):
        Named.of(name="a\ud800")
    assert Named.of(name="ä").name == "ä"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Oven().degrees = 1  # type: ignore[misc]
