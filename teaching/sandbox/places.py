"""The folders that learners' code can write into: nothing in them lasts for the next learner."""

import contextlib
import fcntl
import os
import shutil

FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")
# The machine's own: nothing is kept in them, but everybody can set the time of the last change.
DEVICES = [f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom")]
GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS: what lsattr shows


class Places:
    """`folders`, as they are before the first learner.

    user: of the learner, in a container, where other files in them are the container's own.
    """

    def __init__(self, user=None, folders=FOLDERS):
        self.user, self.folders = user, [at for at in folders if os.path.isdir(at)]
        # On the way to what is shown inside there may be folders too; nobody can write into them.
        self.shown = {each.path for each in self._entries() if not os.access(each.path, os.W_OK)}
        self._touch()  # a sandbox before this one may have been ended
        self.before = self._traits()

    def empty(self):
        """Removes what lies there. False where something stays, or a folder itself was changed.

        Started by an ordinary user, the learner's is the same one, and the folders are its own: a
        mode is twelve bits of a note. The times, in which anybody can leave one, are set to now.
        """
        if self._traits() != self.before:
            return False
        for entry in self._left():
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
        self._touch()
        return not self._left()

    def _touch(self):
        for path in (*self.folders, *DEVICES):
            with contextlib.suppress(OSError):  # what can't be touched here can't be touched there
                os.utime(path)

    def _traits(self):
        return [_traits(folder) for folder in self.folders]

    def _left(self):
        found = [each for each in self._entries() if each.path not in self.shown]
        if self.user is None:
            return found
        return [each for each in found if each.stat(follow_symlinks=False).st_uid == self.user]

    def _entries(self):
        return [each for at in self.folders for each in os.scandir(at)]


def _traits(folder):
    """What a folder is, besides what lies in it and when it was changed."""
    is_now, flags, more = os.stat(folder), b"", {}
    with contextlib.suppress(OSError):  # not every file system has them
        more = {name: os.getxattr(folder, name) for name in os.listxattr(folder)}
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            flags = fcntl.ioctl(descriptor, GET_FLAGS, bytes(8))
        finally:
            os.close(descriptor)
    return is_now.st_mode, is_now.st_uid, is_now.st_gid, more, flags
