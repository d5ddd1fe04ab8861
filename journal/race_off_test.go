//go:build !race

package journal_test

const raceOn = false
