//go:build !unix

package vfs_test

// cpuTime is not to be had here.
func cpuTime() int64 { return 0 }
