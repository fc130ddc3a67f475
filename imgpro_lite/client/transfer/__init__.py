"""Copying a team's images from one server of this API to another, so that it can be interrupted and run again.

    sides.py      the two servers: what is asked of them, how answers are read, when a request is sent again
    images.py     an image as a server shows it, and as it is sent to the other
    originals.py  the bytes of an image, from an address that a server gave; reach.py: which addresses may be dialled
    journal.py    what is copied, and what was about to be; settling.py: whether that has arrived
    planning.py   what there is to copy
    copying.py    the order of steps for each image, and several at a time, with patience.py and turns.py

Neither server is trusted with this machine: every answer has a length, and every field of it a type.
"""
