"""What `/proc/PID/status` says of a process: its user, its capabilities, what it may still gain.

https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
"""

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook

# In the kernel's order: https://github.com/torvalds/linux/blob/master/include/uapi/linux/capability.h
_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
    " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO"
    " SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME"
    " SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG"
    " WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = tuple(_NAMES.split())


class Process(Struct, frozen=True, kw_only=True):
    """A process, its effective user and group. `bounding` are the capabilities that it has or may
    gain.

    `no_new_privileges` and `is_filtered` (by seccomp) are None where the kernel does not tell.
    """

    user: int
    bounding: frozenset[str]
    group: int | None = None
    no_new_privileges: bool | None = None
    is_filtered: bool | None = None


def parse_status(text: str) -> Process:
    """The process of a status file. Raises `CannotLook` if that is not one."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        return Process(
            user=int(fields["Uid"].split()[1]),
            bounding=_capabilities(int(fields["CapBnd"], 16)),
            group=int(fields["Gid"].split()[1]) if "Gid" in fields else None,
            no_new_privileges=_flag(fields.get("NoNewPrivs")),
            is_filtered=_flag(fields.get("Seccomp")),
        )
    except (KeyError, ValueError, IndexError):
        raise CannotLook("the status of its first process can't be read") from None


def _capabilities(mask: int) -> frozenset[str]:
    # What a newer kernel adds has no name here yet, but must not be missed.
    names = (*CAPABILITIES, *(f"capability {bit}" for bit in range(len(CAPABILITIES), 64)))
    return frozenset(name for bit, name in enumerate(names) if mask >> bit & 1)


def _flag(value: str | None) -> bool | None:
    return None if value is None else int(value) > 0
