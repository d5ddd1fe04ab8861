// Package oflock takes locks on byte ranges of open files, as SQLite does, without what is dangerous in those of POSIX:
// these belong to the open file and not to the process, so that closing another descriptor of the same file does not
// drop them. The two kinds exclude each other all the same, so they work together with SQLite's own.
//
// It works on Linux and macOS. Elsewhere every call is an error that is [errors.ErrUnsupported].
package oflock
