"""First on the path of a Python process: its root is read-only but for ``WRITABLE``.

Whatever opens, makes, renames or removes something elsewhere gets what a read-only file system
answers.
"""

import errno
import os
import sys

WRITABLE = tuple(os.environ["WRITABLE"].split(os.pathsep))
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}


def check(path: object) -> None:
    if isinstance(path, bytes | str):
        real = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - pathlib may not be there yet
        if not real.startswith(("/dev/", "/proc/", *WRITABLE)):
            raise OSError(errno.EROFS, "Read-only file system", real)


def hook(event: str, args: tuple[object, ...]) -> None:
    if event == "open":
        path, _, flags = args
        if isinstance(flags, int) and flags & WRITES:
            check(path)
    elif event == "os.rename":
        check(args[0])
        check(args[1])
    elif event in CHANGES:
        check(args[0])


sys.addaudithook(hook)
