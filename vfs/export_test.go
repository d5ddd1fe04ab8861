package vfs

// SetHook has fn called between the steps of a Watcher's protocol.
func (o *WatchOptions) SetHook(fn func(step string)) { o.hook = fn }

// Held says which of its locks a Watcher holds.
func (w *Watcher) Held() (wal, file bool) { return w.watch.Held() }

// FileURL is fileURL.
var FileURL = fileURL
