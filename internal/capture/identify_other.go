//go:build !unix

package capture

import "io/fs"

// inode is not to be had here; size and time have to do.
func inode(fs.FileInfo) int64 { return 0 }
