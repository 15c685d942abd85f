"""What a program showed on a pseudo-terminal."""

import os


def shown_on(leader: int) -> str:
    """Read all that was written, after its last writer is gone, and close it; one read gets 4 KiB."""
    parts = []
    try:
        while part := os.read(leader, 1 << 16):
            parts.append(part)
    except OSError:  # how Linux reports the end
        pass
    finally:
        os.close(leader)
    return b"".join(parts).decode(errors="replace")
