"""The one error a user's input can cause."""


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one line: what, where, what to do."""
