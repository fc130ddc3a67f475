"""What goes wrong with a transfer.

TransferError
├── Stopped      somebody pressed Ctrl-C, or all has ended for another reason
├── Unreachable  a server did not take the request, however often it was tried
├── Doubtful     the request was sent, and nobody knows whether it was carried out
└── Unusable     an answer that cannot be what this API answers
"""


class TransferError(Exception):
    """Something that one image fails for; the text is for the one who runs the command."""


class Stopped(TransferError):
    """Nothing more is to be done."""


class Unreachable(TransferError):
    """The server cannot be reached."""


class Doubtful(TransferError):
    """The server may have done it all the same."""


class Unusable(TransferError):
    """The server does not answer as one of this API does."""
