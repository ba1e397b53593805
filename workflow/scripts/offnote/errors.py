"""The exceptions that speak to a user."""

from offnote.wording import printable


class InputError(Exception):
    """Something in the user's input is wrong, and the user can mend it.

    The message is one or two plain sentences that name the file, key or row and say what to do.
    Whoever shows it to a person shows only the message, never a traceback. What a file of somebody else's says may
    stand in it: it cannot act upon the screen.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(printable, message.split("\n"))))


class BrokenClipError(InputError):
    """One clip cannot be used, whatever the other clips are like: damaged, silent, too short.

    Parameters
    ----------
    clip
        The file, or the slice of it.
    reason
        What is wrong with it, and what to do; without a path, so that it reads the same on every machine.
    """

    def __init__(self, clip: object, reason: str) -> None:
        super().__init__(f"{clip}: {reason}")
        self.reason = reason
