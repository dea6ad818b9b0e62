package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// openPTY gives the two ends of a pseudo terminal of 50 columns.
func openPTY(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 50}); err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}

func TestTerminal(t *testing.T) {
	_, terminal := openPTY(t)
	pipe, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	t.Setenv("CLICOLOR_FORCE", "")
	if !IsTerminal(terminal) || IsTerminal(pipe) || IsTerminal(io.Discard) {
		t.Error("IsTerminal mistakes one for the other")
	}
	if got := Width(terminal); got != 50 {
		t.Errorf("the terminal has %d columns, want 50", got)
	}
	if got := Width(pipe); got != 0 {
		t.Errorf("a file has %d columns, want no limit", got)
	}
	for _, c := range []struct {
		name, value    string
		terminal, pipe bool
	}{
		{"TERM", "xterm", true, false},
		{"CLICOLOR_FORCE", "0", true, false},
		{"CLICOLOR_FORCE", "1", true, true},
		{"NO_COLOR", "1", false, false}, // wins over the one before
		{"TERM", "dumb", false, false},
	} {
		t.Setenv(c.name, c.value)
		if got := Colour(terminal); got != c.terminal {
			t.Errorf("%s=%s: colours on a terminal: %v", c.name, c.value, got)
		}
		if got := Colour(pipe); got != c.pipe {
			t.Errorf("%s=%s: colours in a pipe: %v", c.name, c.value, got)
		}
	}
	table := NewTable(terminal, Column{Head: "A"})
	if table.Width != 50 || table.Colour {
		t.Errorf("%+v", table)
	}
}

func TestProgress(t *testing.T) {
	screen, terminal := openPTY(t)
	seen := make(chan string, 1)
	go func() {
		var all strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := screen.Read(buf)
			all.Write(buf[:n])
			if err != nil || strings.Contains(all.String(), "END") {
				seen <- all.String()
				return
			}
		}
	}()
	p := NewProgress(terminal, "reading", 4<<20)
	var adders sync.WaitGroup
	for range 4 {
		adders.Go(func() {
			for range 256 {
				p.Add(2 << 10)
			}
		})
	}
	adders.Wait()
	time.Sleep(3 * refresh)
	p.Label("sorting\x1b[2J " + strings.Repeat("long ", 20))
	time.Sleep(2 * refresh)
	p.Stop()
	p.Stop()
	fmt.Fprint(terminal, "END")
	text := <-seen
	if !strings.Contains(text, "\r\x1b[Kreading  2.0 MiB of 4.0 MiB  50%") {
		t.Errorf("no progress in %q", text)
	}
	if !strings.Contains(text, `sorting\x1b[2J long long`) {
		t.Errorf("the label did not change, or was not cleaned: %q", text)
	}
	lines := strings.Split(text, "\r\x1b[K")
	if len(lines) < 5 || len(lines) > 12 {
		t.Errorf("%d lines in five times %v", len(lines), refresh)
	}
	for _, line := range lines {
		if Columns(line) >= 50 {
			t.Errorf("the line would wrap: %q", line)
		}
	}
	if !strings.HasSuffix(text, "\r\x1b[KEND") {
		t.Errorf("the line is not erased at the end: %q", text)
	}
}
