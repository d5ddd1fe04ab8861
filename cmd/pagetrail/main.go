// Pagetrail keeps and reads trails of SQLite databases. See package internal/cli.
package main

import (
	"os"

	"github.com/pagetrail/pagetrail/internal/cli"
)

func main() { os.Exit(cli.Main()) }
