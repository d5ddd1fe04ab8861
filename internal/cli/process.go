package cli

import (
	"fmt"
	"os"
)

// processName says to people who did something: machine and process.
func processName() string {
	host, _ := os.Hostname() // a name for people: better incomplete than none
	return fmt.Sprintf("%s process %d", host, os.Getpid())
}
