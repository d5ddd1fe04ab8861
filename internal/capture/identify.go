package capture

import "github.com/pagetrail/pagetrail/internal/durable"

// identify takes down what tells whether a file was written to since.
func identify(fsys durable.FS, path string) (fileID, error) {
	fi, err := fsys.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	return fileID{Size: fi.Size(), MTime: fi.ModTime().UnixNano(), Inode: inode(fi)}, nil
}
