package metrics

import (
	"net"
	"strings"
)

// Notify tells systemd a state, such as READY=1, through the socket that NOTIFY_SOCKET names; without one it does
// nothing. See https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html.
func Notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(socket, "@"); ok { // the abstract namespace of Linux
		socket = "\x00" + rest
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
