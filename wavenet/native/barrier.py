"""Where threads of compiled code wait for each other."""

from wavenet.native.instructions import atomic_add, atomic_read, call, jit

SPINS = 4000  # polls of a barrier before the core is offered to others


@jit
def wait_for_all(arrivals, parts, yield_thread):
    """A barrier: returns when all `parts` threads are here."""
    wanted = (atomic_add(arrivals, 1) // parts + 1) * parts
    polls = 0
    while atomic_read(arrivals) < wanted:
        polls += 1
        if polls % SPINS == 0:
            call(yield_thread)
