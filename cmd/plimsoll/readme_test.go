package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// TestReadme runs every command of the README, in its order, on real parts: an
// image in a real Docker Engine and a real registry. Only the registry's name
// is another.
func TestReadme(t *testing.T) {
	root := testenv.Root(t)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && line != "":
			commands = append(commands, line)
		}
	}
	if len(commands) < 15 || commands[0] != "go run ./cmd/plimsoll demo" || commands[1] != "make test" {
		t.Fatalf("the README's commands: %q", commands)
	}
	// The two that set everything up run in the checkout. make test is what
	// runs this test: that it would is all that can be asked here.
	cmd := exec.Command("make", "-n", "test")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "test") {
		t.Errorf("make -n test: %v\n%s", err, out)
	}

	testenv.Need(t, "skopeo")
	archive := testenv.Image(t, "deb-slim")
	socket := testenv.Docker(t)
	registry := testenv.Registry(t)
	bin, work := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "DOCKER_HOST=unix://"+socket, "GOBIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"),
		"PLIMSOLL_CACHE="+filepath.Join(work, "cache"), "XDG_DATA_HOME="+filepath.Join(work, "data"))
	sh := func(dir, command string) (string, int) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	setUp := []string{
		"cp -r " + filepath.Join(root, "cmd/plimsoll/demodata") + " osv",
		"ln -s " + archive + " app.tar",
		"ln -s " + strings.TrimSuffix(archive, ".tar") + ".oci layout",
		"mkdir -p rootfs/etc && cp /etc/os-release rootfs/etc/",
		"docker load -q -i app.tar && docker tag deb-slim app",
		"skopeo copy -q --dest-tls-verify=false docker-archive:app.tar docker://" + registry + "/team/app:1.4",
	}
	for _, command := range setUp {
		if out, status := sh(work, command); status != 0 {
			t.Fatalf("%s: status %d\n%s", command, status, out)
		}
	}
	// A command that reads what a later one writes.
	later := slices.Index(commands, "plimsoll scan sbom:app.cdx.json")
	writes := slices.Index(commands, "plimsoll bom --format cyclonedx --output app.cdx.json app.tar")
	if later < 0 || writes < later {
		t.Fatal("the README no longer scans the document that it writes")
	}
	commands = append(slices.Delete(slices.Clone(commands), later, later+1), commands[later])
	for _, command := range commands {
		if command == "make test" {
			continue
		}
		dir := work
		if strings.HasPrefix(command, "go ") {
			dir = root
		}
		command = strings.ReplaceAll(command, "registry.example.org", registry)
		out, status := sh(dir, command)
		allowed := []int{0}
		if strings.Contains(command, "plimsoll scan") {
			allowed = []int{0, exitFindings, exitGaps}
		}
		if !slices.Contains(allowed, status) {
			t.Errorf("%s: status %d\n%s", command, status, out)
		}
		if strings.Contains(command, "plimsoll scan") && !strings.Contains(command, "rootfs") && !strings.Contains(command, "result.json") &&
			!strings.Contains(out, "88 components") {
			t.Errorf("%s: not the 88 components of deb-slim:\n%s", command, out)
		}
	}
}
