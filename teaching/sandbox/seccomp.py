"""The system calls that a learner's code may not make, as a BPF program for bubblewrap.

Namespaces already hide files, processes and networks. What is left to forbid are ways around
them: new user namespaces (with mounts of any size), other processes' memory, limits and priorities
set on other processes, and stores in the kernel that outlive a process and could carry notes to the
next learner.
"""

import errno
import platform
import struct

# name: number on x86_64, number on aarch64 (None: not there)
DENIED = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    # The zygote's own, which every later learner's process would inherit.
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
}
CLONE, CLONE3, PRLIMIT, SOCKET = (56, 220), (435, 435), (302, 261), (41, 198)
MMAP, MAP_SHARED, MAP_ANONYMOUS = (9, 222), 0x01, 0x20
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
NEW_NAMESPACES = (
    0x7E020080  # CLONE_NEWUSER, NEWNS, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP, NEWTIME
)
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
FAMILIES = (AF_UNIX, AF_INET, AF_INET6)  # inside the empty network namespace

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _FOURTH_ARGUMENT = 0, 4, 16, 40


def program(machine=None, families=FAMILIES) -> bytes:
    """The filter for this machine's processor. ValueError where its numbers are not known.

    families: of sockets that may be opened; only AF_UNIX where there is a network to be reached.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"no system call filter for {machine!r}; there is one for {known}")
    column, architecture = ARCHITECTURES[machine]
    refuse, missing = _return(0x50000 | errno.EPERM), _return(0x50000 | errno.ENOSYS)
    code = [
        _load(_ARCHITECTURE),
        _jump(_EQUAL, architecture, yes=1),
        _return(_KILL),
        _load(_NUMBER),
        _jump(_AT_LEAST, 0x40000000, no=1),  # the x32 numbers of x86_64
        refuse,
    ]
    for numbers in DENIED.values():
        code += [_jump(_EQUAL, numbers[column], no=1), refuse]
    # glibc falls back to clone, whose flags can be looked at, where clone3 is missing.
    code += [_jump(_EQUAL, CLONE3[column], no=1), missing]
    flags = [_load(_FIRST_ARGUMENT), _jump(_ANY_BIT, NEW_NAMESPACES, no=1), refuse]
    own = [_load(_FIRST_ARGUMENT), _jump(_EQUAL, 0, yes=1), refuse]
    sockets = [_load(_FIRST_ARGUMENT)]
    for left, family in enumerate(families):
        sockets.append(_jump(_EQUAL, family, yes=len(families) - left))
    sockets.append(refuse)
    # Shared memory without a file stays where it is when a process lets go of it (madvise), as long
    # as another has it: what it takes can't be counted. In a file it is counted with the file.
    shared = [_load(_FOURTH_ARGUMENT), _jump(_ANY_BIT, MAP_SHARED, no=2)]
    shared += [_jump(_ANY_BIT, MAP_ANONYMOUS, no=1), refuse]
    blocks = ((CLONE, flags), (PRLIMIT, own), (SOCKET, sockets), (MMAP, shared))
    for numbers, block in blocks:
        block = [*block, _return(_ALLOW)]
        code += [_jump(_EQUAL, numbers[column], no=len(block)), *block]
    return b"".join([*code, _return(_ALLOW)])


def _load(offset):
    return struct.pack("<HBBI", _LOAD, 0, 0, offset)


def _jump(test, value, yes=0, no=0):
    return struct.pack("<HBBI", test, yes, no, value)


def _return(value):
    return struct.pack("<HBBI", _RETURN, 0, 0, value)
