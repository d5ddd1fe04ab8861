package vfs

import (
	"context"
	"log/slog"
)

// defaultLog hands on to the default logger of the moment: the VFS is
// registered when the package is imported, before a program says where it logs.
// Silence would be the wrong default for a program that has its commits refused:
// in WAL mode SQLite's error cannot say why.
type defaultLog struct{}

func (defaultLog) Enabled(ctx context.Context, l slog.Level) bool {
	return slog.Default().Enabled(ctx, l)
}

func (defaultLog) Handle(ctx context.Context, r slog.Record) error {
	return slog.Default().Handler().Handle(ctx, r)
}

func (defaultLog) WithAttrs(as []slog.Attr) slog.Handler {
	return slog.Default().Handler().WithAttrs(as)
}

func (defaultLog) WithGroup(name string) slog.Handler {
	return slog.Default().Handler().WithGroup(name)
}
