package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// dialSSH reaches an engine through ssh, with the relay that both docker and
// podman have for it: `docker system dial-stdio`.
func dialSSH(ctx context.Context, source string, u *url.URL) (net.Conn, error) {
	host, user, port := u.Hostname(), u.User.Username(), u.Port()
	if host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(user, "-") {
		return nil, fmt.Errorf("%s: want ssh://[USER@]HOST[:PORT]", quote(u.Redacted()))
	}
	args := []string{"-T", "-o", "ConnectTimeout=30"}
	if user != "" {
		args = append(args, "-l", user)
	}
	if port != "" {
		args = append(args, "-p", port)
	}
	args = append(args, "--", host, source)
	if u.Path != "" && u.Path != "/" {
		flag := map[string]string{"docker": "--host", "podman": "--url"}[source]
		// The remote shell reads this once more.
		args = append(args, flag, "'unix://"+strings.ReplaceAll(u.Path, "'", `'\''`)+"'")
	}
	// The connection outlives the request that it is opened for.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "ssh", append(args, "system", "dial-stdio")...)
	conn := &sshConn{cmd: cmd}
	var err error
	if conn.WriteCloser, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if conn.Reader, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	cmd.Stderr = &conn.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	conn.wait = sync.OnceValue(cmd.Wait)
	return conn, nil
}

// sshConn is a connection through the two pipes of a running command.
type sshConn struct {
	io.Reader
	io.WriteCloser
	cmd  *exec.Cmd
	said lastWords
	wait func() error
}

// Read gives the reason, which only the command knows, when it ended.
func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		if failed := c.wait(); failed != nil {
			err = fmt.Errorf("ssh: %w: %s", failed, strings.TrimSpace(string(c.said)))
		}
	}
	return n, err
}

func (c *sshConn) Close() error {
	_ = c.WriteCloser.Close()
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.wait()
	return nil
}

func (c *sshConn) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix", Name: "ssh"} }
func (c *sshConn) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix", Name: "ssh"} }
func (c *sshConn) SetDeadline(time.Time) error      { return nil }
func (c *sshConn) SetReadDeadline(time.Time) error  { return nil }
func (c *sshConn) SetWriteDeadline(time.Time) error { return nil }

// lastWords keeps the last kilobyte of what is written to it.
type lastWords []byte

func (w *lastWords) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	*w = (*w)[max(0, len(*w)-1024):]
	return len(p), nil
}
