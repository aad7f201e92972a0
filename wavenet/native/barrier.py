"""A barrier at which threads of compiled code wait for each other."""

from wavenet.native.instructions import atomic_add, atomic_read, call, jit

SPINS = 4000  # polls before the core is yielded to other threads


@jit
def wait_for_all(arrivals, parts, yield_thread):
    """Wait until all `parts` threads have called this."""
    target = (atomic_add(arrivals, 1) // parts + 1) * parts
    polls = 0
    while atomic_read(arrivals) < target:
        polls += 1
        if polls % SPINS == 0:
            call(yield_thread)
