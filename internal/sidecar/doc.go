// Package sidecar ships the trails of any number of databases from one process, and captures those whose programs do
// not use the VFS.
//
// # Many databases, few of them busy
//
// A database is active or at rest. One at rest has no file open and no goroutine: it is looked at with a stat or three
// every Options.Look, and becomes active when its trail's last segment, its database file or its WAL is another than
// it was. An active one has its trail open, and a Shipper that knows where the archive ends; its steps are done by a
// pool of workers, those of capturing by another, so that a slow network never keeps a WAL waiting. When nothing has
// happened for Options.Rest it is put to rest, and leaves notes in its trail (files "shipped" and "watched") by which
// the next process knows that there is nothing to do: so starting costs a few stats a database, and no request.
//
// One goroutine, that of Run, decides what is done next. An entry belongs to it, except for what a task under way
// works on: its shipper or its watcher.
//
// # What may be missed at rest
//
// A database at rest is not watched: a program without the VFS that writes more than the WAL holds (1000 pages as a
// rule) within Options.Look, after a silence of Options.Rest, gets one record for what the WAL did not have any more. So
// does one that writes and closes the database within that time, if nobody else has it open: who closes it last takes the
// WAL away.
package sidecar
