"""Messages between grader, zygote and learner: one letter, a length, and bytes.

The zygote passes bytes on without looking inside, and wipes them: what it has ever held as Python
objects, every learner forked later could find in its own memory.
"""

import contextlib
import os
import struct

HEADER = struct.Struct("<cI")


class Pipe:
    """Frames over file descriptors. most: bytes that a frame may have."""

    def __init__(self, read, write, most):
        self.read, self.write, self.most = read, write, most

    def send(self, letter, data=b"", wait=None):
        """wait(): called before each write. Who is not to wait for ever, for one that has stopped
        reading, gives a `wait` that has an end, and a descriptor that does not block."""
        for part in (HEADER.pack(letter, len(data)), data):
            view = memoryview(part)
            while view:
                if wait:
                    wait()
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self.write, view) :]

    def receive(self, wait=None):
        """(letter, bytearray); None at the end of the stream. wait(): called before each read.

        Raises ValueError for a frame that is too long.
        """
        header = self._exactly(HEADER.size, wait)
        if header is None:
            return None
        letter, length = HEADER.unpack(header)
        if length > self.most:
            raise ValueError(f"{length:,} bytes came back; at most {self.most:,} may")
        data = self._exactly(length, wait)
        return None if data is None else (letter, data)

    def _exactly(self, count, wait):
        data = bytearray(count)
        view = memoryview(data)
        while view:
            if wait:
                wait()
            try:
                got = os.readv(self.read, [view])
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return None
            if not got:
                return None
            view = view[got:]
        return data


def wipe(data):
    """Zeros instead of the bytes of a bytearray."""
    data[:] = bytes(len(data))
