"""The one exception that speaks to a user."""


class InputError(Exception):
    """Something in the user's input is wrong, and the user can mend it.

    The message is one or two plain sentences that name the file, key or row and say what to do.
    Whoever shows it to a person shows only the message, never a traceback.
    """
