//go:build linux || darwin

package follow_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

func ExampleRun() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	primary, err := sqlite3.Open("file:" + filepath.Join(dir, "app.db") + "?vfs=pagetrail")
	if err != nil {
		log.Fatal(err)
	}
	defer primary.Close()
	if err := primary.Exec("CREATE TABLE t(a); INSERT INTO t VALUES('hello')"); err != nil {
		log.Fatal(err)
	}

	trail, err := journal.Open(filepath.Join(dir, "app.db-pagetrail"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer trail.Close()
	replica := filepath.Join(dir, "replica.db")
	err = follow.Run(context.Background(), replica, follow.TrailSource(trail, ""), &follow.Options{
		Once: true, // without it, until the context ends
		Events: follow.Events{CaughtUp: func(pos journal.Position) {
			fmt.Println("caught up at transaction", pos.TXID)
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: caught up at transaction 2
}
