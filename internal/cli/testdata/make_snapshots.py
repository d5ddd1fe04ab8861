#!/usr/bin/env python3
"""Make snapshots.tar.gz: a small database after each of its transactions, for the scripts.

The files are kept, not made when tests run, so that what scripts say about pages and sizes does
not change with the version of SQLite. Made with SQLite 3.40; page size 512, so that little data
has many pages. Member NN.db is the database after transaction NN; notes.txt has their notes.
"""
import gzip, io, os, sqlite3, tarfile, tempfile

steps = [
    ("", ["CREATE TABLE todos (id INTEGER PRIMARY KEY, text TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)",
          "CREATE INDEX todos_done ON todos (done, text)"]),
    ("import", [f"INSERT INTO todos (text) VALUES ('thing number {i} of the list that there is to do')" for i in range(1, 201)]),
    ("", ["INSERT INTO todos (text) VALUES ('buy milk')"]),
    ("", ["UPDATE todos SET done = 1 WHERE id = 7"]),
    ("", ["UPDATE todos SET done = 1 WHERE id = 42"]),
    ("", ["UPDATE todos SET done = 1 WHERE id = 101"]),
    ("", ["INSERT INTO todos (text) VALUES ('call the plumber')"]),
    ("", ["UPDATE todos SET text = 'buy oat milk' WHERE id = 201"]),
    ("", ["UPDATE todos SET done = 1 WHERE id = 180"]),
    ("", ["UPDATE todos SET done = 1 WHERE id = 3"]),
    ("deploy 2.4: tidy up", ["DELETE FROM todos"]),
    ("", ["CREATE TABLE notes (body TEXT)", "INSERT INTO notes VALUES ('" + "where is everything? " * 90 + "')"]),
]

with tempfile.TemporaryDirectory() as d:
    path = os.path.join(d, "app.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA page_size = 512")
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
        add("notes.txt", "".join(note + "\n" for note, _ in steps).encode())
        for n, (_, sql) in enumerate(steps, 1):
            db.execute("BEGIN")
            for s in sql:
                db.execute(s)
            db.execute("COMMIT")
            add(f"{n:02}.db", open(path, "rb").read())
    db.close()
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "snapshots.tar.gz")
    with open(out, "wb") as f, gzip.GzipFile(fileobj=f, mode="wb", mtime=0, filename="") as z:
        z.write(raw.getvalue())
