"""What the exit code of a command says to the program that started it."""

FAILED = 1
TOO_EARLY = 75  # EX_TEMPFAIL of sysexits.h: a period has not arrived, and the same command may succeed later
INTERRUPTED = 130  # Ctrl-C
