"""What jobs need is made once, beside them; what could not be had is asked for again."""

import threading
import time

import pytest

from cellgauge.engines import Cancel
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import EngineError
from cellgauge.pantry import TRIES, Pantry
from support import a_job, embed_view, made_model

IMAGE = a_job().image


class Asked(FunctionEngine):
    """An engine that answers what it is told to, and fails where that is an error."""

    def __init__(self, *answers):
        super().__init__(embed_view)
        self.answers, self.asked = list(answers), 0

    def packages(self, image, cancel):
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else EngineError("away")
        if isinstance(answer, EngineError):
            raise answer
        return answer


@pytest.fixture
def pantry(store, tmp_path):
    made = []

    def make(engine, cancel=None):
        made.append(Pantry([a_job()], {"m": made_model()}, {}, engine, store, tmp_path / "cache", cancel))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_list_of_packages_that_could_not_be_had_is_asked_for_again(pantry):
    engine = Asked(EngineError("it is being restarted"), ("a==1",))
    shelf = pantry(engine)
    assert shelf.packages(IMAGE) == ""
    name = shelf.packages(IMAGE)
    assert name
    assert (shelf.packages(IMAGE), engine.asked) == (name, 2)


def test_an_engine_that_never_answers_is_not_asked_for_ever(pantry):
    engine = Asked()
    shelf = pantry(engine)
    assert {shelf.packages(IMAGE) for _ in range(20)} == {""}
    assert engine.asked == TRIES


def test_who_asks_after_the_end_is_told_nothing_and_stops_nothing(pantry):
    shelf = pantry(Asked(EngineError("away"), ("a==1",)))
    assert shelf.packages(IMAGE) == ""
    shelf.close()
    assert shelf.packages(IMAGE) == ""


def test_closing_waits_for_whoever_asks_since_it_has_a_container_to_remove(pantry):
    begun, removed = threading.Event(), threading.Event()

    class Slow(FunctionEngine):
        def packages(self, image, cancel):
            begun.set()
            cancel.sleep(60)
            time.sleep(0.3)
            removed.set()
            raise EngineError("nobody waits for it any more")

    cancel, began = Cancel(), time.monotonic()
    shelf = pantry(Slow(embed_view), cancel)
    assert begun.wait(10)
    cancel.ask()
    shelf.close()
    assert removed.is_set()
    assert time.monotonic() - began < 10
