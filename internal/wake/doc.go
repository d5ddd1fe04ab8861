// Package wake waits for writes to files, by whatever process of this machine. Looking again and again costs more and
// finds them later: a timer of half a millisecond takes a whole one in a program that does nothing else.
//
// A Waker is for one goroutine. Where there is none, on other systems than Linux or since too many are taken, who waits
// looks by the clock. The same goes for file systems that tell of no writes, as that of another machine.
package wake
