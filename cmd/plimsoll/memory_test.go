package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// A scan stays under the memory it promises, from every kind of source.
func TestMemory(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	archive := testenv.Image(t, "node-app")
	for _, c := range []struct {
		image string
		stdin bool
		flags []string
		most  int64 // MiB
	}{
		{archive, false, nil, 150},
		{strings.TrimSuffix(archive, ".tar") + ".oci", false, nil, 150},
		{"-", true, nil, 150},
		{archive, false, []string{"--max-memory", "60MiB", "--parallel", "1"}, 60},
	} {
		args := append([]string{"bom", "--no-cache", "--format", "json", "-o", filepath.Join(t.TempDir(), "bom.json"), c.image}, c.flags...)
		cmd := exec.Command(exe)
		cmd.Args = append([]string{"plimsoll"}, args...)
		if c.stdin {
			if cmd.Stdin, err = os.Open(archive); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss / 1024
		t.Logf("%q: %d MiB", args, peak)
		if peak > c.most {
			t.Errorf("%q: %d MiB at its peak, more than %d", args, peak, c.most)
		}
	}
}
