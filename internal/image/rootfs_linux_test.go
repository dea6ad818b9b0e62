package image

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// The kernel's file systems below a root are not the image's.
func TestDirectoryWithProc(t *testing.T) {
	if os.Getuid() != 0 {
		testenv.Skip(t, "mounting proc needs root")
	}
	dir := inDir(t, []file{{name: "etc/passwd"}, {name: "proc/.keep"}, {name: "run/.keep"}})
	if err := syscall.Mount("proc", dir+"/proc", "proc", 0, ""); err != nil {
		testenv.Skip(t, "mounting proc: "+err.Error())
	}
	defer syscall.Unmount(dir+"/proc", 0)
	if err := syscall.Mount("tmpfs", dir+"/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir+"/run", 0)
	if err := os.WriteFile(dir+"/run/here", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, gaps := walkOf(t, dir)
	var got []string
	for path := range all {
		got = append(got, path)
	}
	slices.Sort(got)
	if want := []string{"etc", "etc/passwd", "proc", "run", "run/here"}; !slices.Equal(got, want) || len(gaps) > 0 {
		t.Errorf("got %q, want %q; gaps %+v", got, want, gaps)
	}
}
