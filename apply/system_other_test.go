//go:build !linux

package apply_test

import (
	"io/fs"
	"time"
)

func allocated(fs.FileInfo) int64 { return 0 }

func cpuTime() time.Duration { return 0 }
