// Package testenv gives tests the real things they run on: the shared data and
// the images built from it. Tests only.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Skip skips the test for want of a part that every full environment has. With
// CI=true that is a failure.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing in CI: %s", why)
	}
	Optional(t, why)
}

// Optional skips the test for want of a part that no Debian package has, so
// that it may be missing in CI too. Either way of skipping is told where
// somebody sees it: `make test` prints the file named by PLIMSOLL_SKIPS at its
// end.
func Optional(t testing.TB, why string) {
	t.Helper()
	if name := os.Getenv("PLIMSOLL_SKIPS"); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("SKIPPED " + t.Name() + ": " + why + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip(why)
}

// Root is the directory of go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("testenv: no go.mod above the working directory")
		}
		dir = parent
	}
}

// Shared is the path of a file or directory below PLIMSOLL_SHARED, by default
// the directory "shared" beside the checkout. The test is skipped without it.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	dir := os.Getenv("PLIMSOLL_SHARED")
	if dir == "" {
		dir = filepath.Join(Root(t), "..", "shared")
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		Skip(t, "no "+path+" (set PLIMSOLL_SHARED)")
	}
	return path
}

// Need skips the test unless every program is installed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Skip(t, "needs "+p+" (apt-get install it)")
		}
	}
}

var building sync.Mutex

// Image is one of the real images of images/build.sh (deb-slim, deb-web,
// node-app): the path of its docker-archive. The same path with .oci in place
// of .tar is its OCI layout. It is built when it is not there yet, which takes
// minutes and needs root, docker.io, debootstrap, skopeo and npm.
func Image(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("PLIMSOLL_IMAGES")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "plimsoll-images")
	}
	archive := filepath.Join(dir, name+".tar")
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(filepath.Join(dir, name+".oci", "index.json")); err == nil {
		return archive
	}
	script := Shared(t, "images", "build.sh")
	Need(t, "dockerd", "docker", "debootstrap", "skopeo", "npm")
	if os.Getuid() != 0 {
		Skip(t, "building "+name+" needs root")
	}
	cmd := exec.Command("bash", script)
	cmd.Env = append(os.Environ(), "OUT="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return archive
}
