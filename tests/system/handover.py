#!/usr/bin/env python3
"""Executes a program with listening sockets handed over as systemd does it (sd_listen_fds(3)).

usage: handover FD[,FD...] NAME[:NAME...] PROGRAM [ARGUMENT ...]
"""
import fcntl
import os
import sys

FIRST = 3  # SD_LISTEN_FDS_START
OUT_OF_THE_WAY = 100

fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(fds, FIRST):
    os.dup2(fd, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.closerange(FIRST + len(fds), OUT_OF_THE_WAY)
os.execv(sys.argv[3], sys.argv[3:])
