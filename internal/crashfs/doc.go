// Package crashfs is a disk in memory that knows what would survive a power
// cut.
//
// A [Disk] is two things at once: a [durable.FS] for a trail and its engine,
// and a VFS for SQLite ([Disk.VFS]), over the same files. It remembers of
// every file what was synced and each change since, and of every directory
// which names were synced. [Disk.Clone] makes another disk as this one might
// be found after a power cut, or after the death of the process:
//
//	disk := crashfs.New("/disk", t.TempDir())
//	disk.OnOp(func(op crashfs.Op) crashfs.Fault { … take a clone, or fail … })
//	… work …
//	after := disk.Clone("/after", crashfs.PowerCut, seed)
//
// # What a power cut does
//
// Every change since the last sync of a file is kept or lost by itself, and a
// write is torn at the sectors of 512 bytes that it touches: each is kept or
// lost. A lost write may still have made the file longer. The names in a
// directory (created, renamed, removed) are kept or lost by themselves until
// the directory is synced; syncing a file does not keep its name, which is all
// that POSIX promises. Some clones keep everything, or nothing, or what came
// before a moment, since those are what real file systems do most.
// Truncations are lost in the order in which they and the changes of names were
// made, as file systems keep both in one log and SQLite relies on it.
// The time of last change may be the old one although a change was kept.
//
// What is asked of a disk in return: that a sector's bytes which a write does
// not touch stay as they are (SQLite's powersafe overwrite), and that what was
// synced stays.
//
// # Order and reproducibility
//
// Operations are counted, one at a time. A clone depends on its seed and on
// the changes only, so the same work and the same seed give the same disk.
//
// # The wal-index
//
// SQLite's Go driver maps a real file as its shared memory, so names that end
// in -shm lead to real files in a directory that each disk has for itself. What
// is done with them through [Disk.FS] is told and can be failed, but is not
// counted; what the driver does is not seen. A clone begins with an empty one:
// that is what a power cut leaves, and what the first connection makes of it
// otherwise.
package crashfs
