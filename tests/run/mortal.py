"""A run that is killed, or finds the disk full, after so many files; begun by test_survival.

    python mortal.py PLAN FOLDER kill|full COUNT...

Every count is a process of its own, forked before anything was computed, that works in
FOLDER-COUNT until so many files or folders have been put in place. Prints how each ended.
"""

import errno
import json
import os
import signal
import sys

from unmask.run import execute, read_plan
from unmask.run.execute import checked_methods


def doomed(how, count):
    """Let the renaming that puts a file or folder in place end this process, before or after."""
    real = os.replace
    seen = 0

    def replace(source, target):
        nonlocal seen
        seen += 1
        if seen * 2 - 1 == count or (seen * 2 == count and how == "full"):
            if how == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
        if seen * 2 == count:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def main():
    plan, folder, how, *counts = sys.argv[1:]
    plan = read_plan(plan)
    checked_methods(plan)  # imports all that the children need
    ends = {}
    for count in map(int, counts):
        child = os.fork()
        if child == 0:
            try:
                doomed(how, count)
                execute(plan, f"{folder}-{count}")
            except OSError as error:
                os._exit(3 if error.errno == errno.ENOSPC else 4)
            except BaseException:
                os._exit(5)
            os._exit(0)
        ends[count] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
