package testenv

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// NeedRoot skips the test unless root runs it and every program is installed.
func NeedRoot(t testing.TB, programs ...string) {
	t.Helper()
	Need(t, programs...)
	if os.Getuid() != 0 {
		Skip(t, "it starts an engine or changes owners, which takes root")
	}
}

// ShortDir is a temporary directory whose name leaves room for that of a
// socket, which may have 107 bytes in all.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Start runs a server until the end of the test, and waits until ready says
// that it serves.
func Start(t testing.TB, ready func() bool, name string, args ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 10 * time.Second // for its children, which have the same output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var how error
	ended := make(chan struct{})
	go func() { how = cmd.Wait(); close(ended) }()
	end := func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Errorf("%s did not end", name)
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(end)
	for range 600 {
		if ready() {
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s: %v\n%s", name, how, said.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	end() // and what it said is complete
	t.Fatalf("%s did not become ready\n%s", name, said.String())
}

// Listens tells, for Start, whether somebody listens at a Unix socket.
func Listens(socket string) func() bool {
	return func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
}

// Docker runs a Docker Engine of its own and gives its socket.
func Docker(t testing.TB, flags ...string) (socket string) {
	t.Helper()
	return Dockerd(t, "dockerd", flags...)
}

// Dockerd is Docker with another program than that of the system.
func Dockerd(t testing.TB, program string, flags ...string) (socket string) {
	t.Helper()
	NeedRoot(t, program, "docker")
	dir := ShortDir(t)
	socket = filepath.Join(dir, "d.sock")
	Start(t, Listens(socket), program, append([]string{
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "x"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", "unix://" + socket,
		"--iptables=false", "--bridge=none",
	}, flags...)...)
	return socket
}

// Registry runs a real registry (Debian's docker-registry) and gives its
// host:port, plain HTTP.
func Registry(t testing.TB) string {
	t.Helper()
	Need(t, "docker-registry")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\nlog: {level: error}\n", filepath.Join(dir, "data"), addr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	answers := func() bool {
		r, err := http.Get("http://" + addr + "/v2/")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	}
	Start(t, answers, "docker-registry", "serve", config)
	return addr
}

// Run runs a program and gives its standard output.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}
