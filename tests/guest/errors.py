"""What goes wrong with guests."""


class GuestError(Exception):
    """A guest cannot run here, or did not run to its end; says what was found and what to do."""
