"""``python -m worker.video.stills_server FD``: fork the processes that take stills.

A new process computes longer to import FFmpeg and NumPy than to read the stills of a preview, and a
video may be at work beside it. This process has imported them. It opens no file itself: each video
is opened by a process of its own, which has only the sockets that came with the request.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from functools import partial

from shoal.local.process_guard import die_with_parent
from worker.video import stills_child

CODE = struct.Struct(">i")  # what a process ended with, negative: by which signal
START, WAIT = b"F", b"W"


def main() -> None:
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watchers
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            _, fds, _, _ = socket.recv_fds(requests, len(START), 2)
            if len(fds) != 2:
                return
            line, control = fds
            fork(partial(watch, line, control), requests.fileno())
            os.close(line)
            os.close(control)


def fork(run: Callable[[], None], *others: int) -> int:
    """Run something in a process that has not these files, and ends with it."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        for fd in others:
            os.close(fd)
        run()
        code = 0
    except (EOFError, ConnectionError):
        pass  # nobody wants an answer any more
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def watch(line: int, control: int) -> None:
    """Have a process take stills; say what it ended with, or end it when nobody asks any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = fork(partial(stills_child.serve, line), control)
    os.close(line)
    with socket.socket(fileno=control) as asked:
        is_wanted = asked.recv(len(WAIT)) == WAIT
        if not is_wanted:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if is_wanted:
            asked.sendall(CODE.pack(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main()
