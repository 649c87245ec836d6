"""`python -m llmtp` and the installed `llmtp` script."""

from __future__ import annotations

import os
import signal
import sys

#: Python drops one that comes while a module is imported, now and then.
_EARLY = (signal.SIGINT,)


def main() -> None:
    """Run the command line and exit with its code.

    Signals come first, so that an early one, too, ends in an exit code of ours.
    """
    if sys.platform == "win32":
        sys.stderr.write("error: llmtp runs on Linux and macOS; on Windows, inside WSL\n")
        sys.exit(9)
    early = signal.pthread_sigmask(signal.SIG_BLOCK, _EARLY)
    from llmtp import signals
    from llmtp.machine.marks import is_detached

    if is_detached():
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whoever typed the command may have more open
    argv = sys.argv[1:]
    try:
        signals.install()
        signal.pthread_sigmask(signal.SIG_SETMASK, early)
        from llmtp.cli.app import run

        code = run(argv)
    except BaseException as error:
        interrupted = signals.behind(error)
        if interrupted is None:
            raise
        from llmtp.cli.app import end_early

        code = end_early(argv, interrupted)
    sys.exit(code)


if __name__ == "__main__":
    main()
