"""The errors as a person or another process gets them."""

from __future__ import annotations

import pickle
from inspect import getmembers, isclass

import pytest

import i2am
from i2am import errors

CLASSES = [kind for _, kind in getmembers(errors, isclass) if issubclass(kind, errors.I2AMError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_host_that_writes_the_class_before_the_message_writes_no_path(kind: type[errors.I2AMError]) -> None:
    assert f"{kind.__module__}.{kind.__qualname__}" == f"i2am.{kind.__name__}"
    assert getattr(i2am, kind.__name__) is kind


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_reaches_another_process_whole(kind: type[errors.I2AMError]) -> None:
    got = pickle.loads(pickle.dumps(kind("3 masks")))
    assert type(got) is kind
    assert str(got) == "3 masks"


def test_errors_of_other_rooms_keep_their_place() -> None:
    from i2am.train.errors import TrainingError

    assert TrainingError.__module__ == "i2am.train.errors"
