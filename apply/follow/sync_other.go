//go:build !linux

package follow

import "os"

// syncData makes a file's content durable. On macOS package os asks the drive
// to empty its cache as well.
func syncData(f *os.File) error { return f.Sync() }
