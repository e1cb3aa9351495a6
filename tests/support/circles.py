"""What only a garbage collector finds: things that refer to each other in circles, and that nothing else refers to."""

from __future__ import annotations

import gc


def circles() -> list[str]:
    """Return the kinds of all there is of it since the last collection, be it whose it may.

    Room that the interpreter keeps for objects that have gone is given back as well.
    """
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return [type(one).__name__ for one in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
