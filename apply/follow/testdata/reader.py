"""Reads a replica in one way until stdin ends, and prints what was wrong.

The database holds accounts whose balances always sum up to 1000 * their
number, and a counter that every transaction raises by one, with a history
that has a row for each of its values.
"""
import os
import sqlite3
import sys
import threading

path, way = sys.argv[1], sys.argv[2]
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
reads = bad = highest = 0


def say(text):
    global bad
    bad += 1
    print(text, flush=True)


def connect():
    c = sqlite3.connect("file:%s?mode=%s" % (path, "ro" if way == "readonly" else "rw"), uri=True, timeout=30, isolation_level=None)
    if way == "mmap":
        c.execute("PRAGMA mmap_size=268435456")
    return c


def state(c):
    n, = c.execute("SELECT n FROM counter").fetchone()
    count, total = c.execute("SELECT count(*), sum(balance) FROM accounts").fetchone()
    last, rows = c.execute("SELECT max(n), count(*) FROM history").fetchone()
    if total != 1000 * count:
        say("balances: %r in %r accounts" % (total, count))
    if last != n:
        say("counter %r, history up to %r" % (n, last))
    return n, total, rows


def check(c):
    global highest, reads
    c.execute("BEGIN")
    first = state(c)
    if first[0] < highest:
        say("the counter went back from %r to %r" % (highest, first[0]))
    highest = first[0]
    if way == "long":
        for _ in range(20):
            done.wait(0.01)
            if state(c) != first:
                say("a snapshot changed")
    if way == "integrity":
        answer = c.execute("PRAGMA integrity_check").fetchall()
        if answer != [("ok",)]:
            say("integrity_check: %r" % answer[:3])
    c.execute("COMMIT")
    reads += 1


c = connect()
print("ready", flush=True)
while not done.is_set():
    try:
        check(c)
        if way == "openclose":
            c.close()
            c = connect()
    except sqlite3.Error as e:
        say("error: %s" % e)
        if c.in_transaction:
            c.execute("ROLLBACK")
    done.wait(0.002)
c.close()
print("reads %d bad %d" % (reads, bad), flush=True)
os._exit(0)
