//go:build race

package journal_test

// raceOn: the race detector makes sync.Pool forget at random, so memory cannot be held to a limit.
const raceOn = true
