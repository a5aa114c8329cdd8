"""Run as a script by tested_code.py inside fresh namespaces: give up every right, then run code and its tests.

Imports nothing of gristmill. Landlock: https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import resource
import struct
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
NO_NEW_PRIVS = 38
PATH_BENEATH = 1
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}


def forbid_files(readable: list[str]) -> None:
    """From here on this process may read below `readable` and write nowhere. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        result = libc.syscall(number, *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), f"landlock system call {number} failed")
        return result

    version = call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    handled = RIGHTS_BY_VERSION[min(version, max(RIGHTS_BY_VERSION))]
    attributes = struct.pack("Q", handled)
    ruleset = call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    for path in readable:
        if os.path.isdir(path):  # noqa: PTH112 - no import that is not needed
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", EXECUTE | READ_FILE | READ_DIR, descriptor)
            call(ADD_RULE, ruleset, ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint32(0))
            os.close(descriptor)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
    call(RESTRICT_SELF, ruleset, ctypes.c_uint32(0))


def main() -> None:
    secret, cpu_s, memory, code, tests = sys.stdin.read().split("\0", 4)
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    forbid_files([library, "/usr/lib", "/lib", "/lib64"])
    limits = {
        resource.RLIMIT_CPU: int(cpu_s),
        resource.RLIMIT_AS: int(memory),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "answer", "exec"), names)  # nosec
    exec(compile(tests, "tests", "exec"), names)  # nosec
    sys.stdout.flush()
    os.write(1, secret.encode())


main()
