//go:build unix

package capture

import (
	"io/fs"
	"reflect"
)

// inode tells files of one name apart. The field has another type on each
// system, hence the reflection; it is read once a session.
func inode(fi fs.FileInfo) int64 {
	v := reflect.Indirect(reflect.ValueOf(fi.Sys()))
	if v.Kind() != reflect.Struct {
		return 0
	}
	f := v.FieldByName("Ino")
	switch {
	case !f.IsValid():
		return 0
	case f.CanUint():
		return int64(f.Uint())
	case f.CanInt():
		return f.Int()
	}
	return 0
}
