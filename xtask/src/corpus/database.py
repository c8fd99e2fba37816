# OLD_TREE NEW_TREE OLD_DB NEW_DB
# The old database holds every page of the old tree. The new one is the same file after an application has brought it
# up to date: one transaction a page, and only for pages that say something new, apart from the version they bear.
import pathlib
import re
import shutil
import sqlite3
import sys

old_tree, new_tree = (pathlib.Path(name) for name in sys.argv[1:3])
old_db, new_db = sys.argv[3:5]


def pages(tree):
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(tree)), path.read_bytes()


def said(page):
    return re.sub(rb"\b[0-9]+\.[0-9]+\.[0-9]+\b", b"", page)


connection = sqlite3.connect(old_db)
connection.execute("pragma page_size = 4096")
connection.execute("create table page (number integer primary key, path text unique, body blob)")
connection.executemany("insert into page (path, body) values (?, ?)", pages(old_tree))
connection.commit()
connection.close()

shutil.copyfile(old_db, new_db)
connection = sqlite3.connect(new_db, isolation_level=None)
connection.execute("pragma synchronous = off")
stored = dict(connection.execute("select path, body from page"))
for path, body in pages(new_tree):
    before = stored.pop(path, None)
    if before is None:
        connection.execute("insert into page (path, body) values (?, ?)", (path, body))
    elif said(before) != said(body):
        connection.execute("update page set body = ? where path = ?", (body, path))
for path in sorted(stored):
    connection.execute("delete from page where path = ?", (path,))
connection.close()
