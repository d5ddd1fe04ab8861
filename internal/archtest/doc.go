// Package archtest holds the building's plan, and a test that compares the
// building with it: which package may import which.
//
// The rooms and their arrows are in rules.go, with the reason for each. The
// plan is closed: a package without a room, or a module that nobody has let in,
// fails the test, so that adding one is a decision that somebody writes down.
//
// Production code is held to its room's arrows. Tests may look further, since
// to judge a capture one replays it: they may import any room below the command
// line. What a test may never do is pull a leaf's dependencies upwards, so the
// tests of leaves stay leaves too.
package archtest
