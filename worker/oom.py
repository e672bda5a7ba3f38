"""How often the kernel has killed a process for want of memory: nothing else tells that from other kills."""

from pathlib import Path


def kills(root: Path = Path("/")) -> int | None:
    """Return the count for the control group of this process, or that of the machine, if there is one."""
    for path in [*_of_our_group(root), root / "proc/vmstat"]:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.strip().isdigit():
                return int(count)
    return None


def _of_our_group(root: Path) -> list[Path]:
    """Return where the kernel counts for our group, in both versions of control groups."""
    found = []
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in groups:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            found.append(root / f"sys/fs/cgroup{place}/memory.events")
        elif "memory" in controllers.split(","):
            found += [root / f"sys/fs/cgroup/memory{at}/memory.oom_control" for at in (place, "")]
    return found
