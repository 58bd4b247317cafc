"""What full garbage collections skip."""

from __future__ import annotations

from tests.support.page import run_program

_PASS_OVER = """
import gc, sys, weakref
from types import ModuleType
from pipelines.garbage import pass_over_modules

class Ring:
    def __init__(self):
        self.me = self

def add_modules(count):
    sys.modules.update((f"made_{len(sys.modules)}", ModuleType("made")) for _ in range(count))

pass_over_modules()
kept = [[] for _ in range(1_000)]
before = weakref.ref(Ring())
add_modules(60)
gc.collect()
first = gc.get_freeze_count()
assert first >= 1_000 and before() is None, first
later, after = [[] for _ in range(1_000)], weakref.ref(Ring())
add_modules(10)
gc.collect()
assert abs(gc.get_freeze_count() - first) < 500 and after() is None
add_modules(50)
gc.collect()
assert gc.get_freeze_count() >= first + 1_000
"""
_SERVE = """
import gc, app.server
from pipelines import Settings

def run(*_):
    gc.collect()
    print(gc.get_freeze_count())

app.server.uvicorn.Server.run = run
app.server.serve(Settings(uri="none.db", port=0))
"""


def test_modules_are_passed_over_once_and_garbage_is_collected() -> None:
    done = run_program("-c", _PASS_OVER)
    assert done.returncode == 0, done.stderr


def test_the_page_lets_collections_pass_over_its_modules() -> None:
    done = run_program("-c", _SERVE)
    assert int(done.stdout) > 50_000, done.stderr
