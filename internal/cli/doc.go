// Package cli is pagetrail's command line: each verb in a file of its own, and what they share.
//
// It is the one room that knows every other, and the only one that knows cobra. A verb is an
// options struct, its flags, a constructor and a run method, which takes a context and an [Env]:
// the streams, the clock, the zone and the environment. Nothing below [Main] calls os.Exit, reads
// the clock or asks what a terminal is, so every behaviour is a script in testdata/script.
//
// The rules of the output, which scripts may rely on:
//
//   - stdout carries the data that was asked for and nothing else; what is said about it (progress,
//     notices, errors) goes to stderr.
//   - --json writes one object, or for log one object a line. Fields are added, never renamed or
//     removed; JSON.md beside this file lists them.
//   - The exit code is one of the few in [Code]; every verb's help lists those it can end with.
//   - An error says what was wrong, where, and on the next line what to do about it.
package cli
