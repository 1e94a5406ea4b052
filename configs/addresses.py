"""Addresses as they may be shown: those of the settings may carry a password."""

import re

_ADDRESS = re.compile(r"""([A-Za-z][\w+.-]*://)(?:[^\s/?#'"]*@)?([^\s?#'"]*)(?:[?#][^\s'"]*)?""")


def without_credentials(text: str) -> str:
    """The text, each address in it without user, password, query and fragment: all of these may hold a secret.

    >>> without_credentials("GET https://ada:secret@mlflow.example:8443/base?token=t failed")
    'GET https://mlflow.example:8443/base failed'
    """
    return _ADDRESS.sub(r"\1\2", text)
