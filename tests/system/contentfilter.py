#!/usr/bin/env python3
"""A content filter as an SMTP service behind Postfix's queue: takes each mail on one port, spends
a fixed amount of work on it and hands it back on another. One process, one thread, so that its
CPU seconds are those of the kernel's account of it.

usage: contentfilter.py PORT BACK_PORT ROUNDS"""
import hashlib
import os
import pathlib
import smtplib
import socket
import sys

REPLIES = {"DATA": "354 go on", "QUIT": "221 bye"}


def cpu_secs(pid):
    """What a process has used so far, its user and system time."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def path_of(line):
    """What stands between the angle brackets."""
    return line.partition("<")[2].partition(">")[0]


def read_mail(file):
    lines = []
    while (line := file.readline()) not in (b".\r\n", b""):
        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
    return b"".join(lines)


def judge(mail, rounds):
    """The work: what a filter would do with patterns, this does with a hash."""
    hashlib.pbkdf2_hmac("sha256", mail, b"content filter", rounds)


def serve(file, back_port, rounds):
    """One connection of the queue manager's client."""
    def say(text):
        file.write(text.encode() + b"\r\n")
        file.flush()

    say("220 content filter")
    sender, recipients = "", []
    while line := file.readline().decode("ascii", "replace"):
        verb = line[:4].upper()
        if verb == "MAIL":
            sender, recipients = path_of(line), []
        if verb == "RCPT":
            recipients.append(path_of(line))
        say(REPLIES.get(verb, "250 ok"))
        if verb == "QUIT":
            return
        if verb == "DATA":
            mail = read_mail(file)
            judge(mail, rounds)
            with smtplib.SMTP("127.0.0.1", back_port, local_hostname="filter.example") as back:
                back.sendmail(sender, recipients, mail)
            say("250 clean")


def main():
    port, back_port, rounds = (int(word) for word in sys.argv[1:])
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as file:
                serve(file, back_port, rounds)


if __name__ == "__main__":
    main()
