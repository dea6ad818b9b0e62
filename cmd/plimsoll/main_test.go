package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary stand in for the program (testscript puts it
// on PATH under that name) and for the floor of the benchmarks.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == floorArg {
		floor(os.Args[2:])
		return
	}
	testscript.Main(m, map[string]func(){"plimsoll": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PLIMSOLL_CACHE", e.WorkDir+"/cache")
			e.Setenv("XDG_DATA_HOME", e.WorkDir+"/data")
			e.Setenv("DOCKER_HOST", "unix://"+e.WorkDir+"/no-docker.sock")
			e.Setenv("CONTAINER_HOST", "unix://"+e.WorkDir+"/no-podman.sock")
			e.Setenv("CONTAINERD_ADDRESS", e.WorkDir+"/no-containerd.sock")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mklayout": mkLayout},
	})
}

// Ctrl-C ends a scan that waits for a pipe whose writer says nothing more.
func TestInterrupted(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(exe)
	cmd.Args = []string{"plimsoll", "scan", "--no-cache", "-"}
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "PLIMSOLL_DB=")
	cmd.Stdin, cmd.Stderr = read, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when it is taken, the scan is in its middle.
	if _, err := write.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(10*patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitError || stderr.String() != "plimsoll: interrupted\n" {
		t.Errorf("exit status %d, %q", got, &stderr)
	}
}

// mkLayout writes an OCI layout of gzip layers: mklayout LAYOUT LAYERDIR...
func mkLayout(ts *testscript.TestScript, _ bool, args []string) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, dir := range args[1:] {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		ts.Check(w.AddFS(os.DirFS(ts.MkAbs(dir))))
		ts.Check(w.Close())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
		ts.Check(err)
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "COPY " + dir + " /"}})
		ts.Check(err)
	}
	config, err := img.ConfigFile()
	ts.Check(err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	ts.Check(err)
	path, err := layout.Write(ts.MkAbs(args[0]), empty.Index)
	ts.Check(err)
	ts.Check(path.AppendImage(img))
}
