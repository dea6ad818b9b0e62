package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll"
)

const (
	smallCycloneDX = `{"$schema":"http://cyclonedx.org/schema/bom-1.6.schema.json","bomFormat":"CycloneDX","specVersion":"1.6","version":1,
"components":[{"type":"library","name":"left-pad","version":"1.3.0","purl":"pkg:npm/left-pad@1.3.0"}]}`
	// The names are in alphabetical order, as some tools write them: the one
	// that tells what it is comes last.
	smallSPDX = `{"SPDXID":"SPDXRef-DOCUMENT","creationInfo":{"created":"2026-11-23T00:00:00Z","creators":["Tool: test"]},"dataLicense":"CC0-1.0",
"documentNamespace":"https://example.org/x","name":"bomFormat","packages":[{"SPDXID":"SPDXRef-p","downloadLocation":"NOASSERTION",
"externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceLocator":"pkg:npm/left-pad@1.3.0","referenceType":"purl"}],
"name":"left-pad","versionInfo":"1.3.0"}],"spdxVersion":"SPDX-2.3"}`
)

// Names without a prefix mean what is there.
func TestGuess(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name string, content []byte) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archive := tarOf(t, dockerFiles(t, m, "app:1")...)
	write("image.tar", archive)
	write("image.tgz", gzipped(t, archive))
	write("image", zstded(t, archive))
	write("bom.json", []byte(smallCycloneDX))
	write("spdx", []byte(" \n"+smallSPDX))
	for _, f := range layoutFiles(indexOf(t, m.entry("v1")), m) {
		write("layout/"+f.name, f.body)
	}
	write("rootfs/etc/os-release", []byte("ID=debian\n"))
	write("od:d/image:x.tar", archive)

	for name, want := range map[string]string{
		"image.tar": "archive", "./image.tgz": "archive", dir + "/image": "archive", "./image.tar:app:1": "archive", "archive:image.tar:app:1": "archive",
		"od:d/image:x.tar": "archive", "archive:od:d/image:x.tar:app:1": "archive",
		"bom.json": "sbom", "spdx": "sbom", "sbom:bom.json": "sbom",
		"layout": "oci", "./layout:v1": "oci", "oci:layout": "oci", "oci:layout:v1": "oci", "oci:layout@" + string(m.digest()): "oci",
		"rootfs": "dir", "rootfs/": "dir", "dir:rootfs": "dir", "dir:layout": "dir", ".": "dir",
	} {
		img := open(t, name, Options{})
		if img.Source != want {
			t.Errorf("%s was taken for %s, want %s", name, img.Source, want)
		}
		if (img.BOM != nil) != (want == "sbom") {
			t.Errorf("%s: BOM is %v", name, img.BOM)
		}
		bare := name
		if i := strings.Index(name, ":"); i > 0 && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "od:") {
			bare = name[i+1:]
		}
		if img.Name != bare {
			t.Errorf("%s has the name %s, want %s", name, img.Name, bare)
		}
	}
	for want, content := range map[string][]byte{"archive": archive, "sbom": []byte(smallSPDX)} {
		for _, name := range []string{"-", want + ":-"} {
			if img := open(t, name, Options{Stdin: bytes.NewReader(content)}); img.Source != want {
				t.Errorf("%s was taken for %s, want %s", name, img.Source, want)
			}
		}
	}
}

// A wrong guess says what was tried, one attempt on each line.
func TestWrongGuess(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	t.Setenv("CONTAINER_HOST", "unix:///nonexistent/podman.sock")
	t.Setenv("CONTAINERD_ADDRESS", "/nonexistent/containerd.sock")
	if err := os.WriteFile("notes", []byte("not an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"127.0.0.1:1/no/such:image": {"file", "docker", "podman", "containerd", "registry"},
		"notes:latest@sha256:1":     {"file", "docker", "podman", "containerd", "registry"},
		"./no/such/file":            {"file"},
		"/no/such.tar":              {"file"},
		"./notes":                   {"file"},
	} {
		_, err := Open(t.Context(), name, anonymous())
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		lines := strings.Split(err.Error(), "\n")
		if !strings.Contains(lines[0], name) || len(lines) != len(want)+1 {
			t.Errorf("%s: tried %q, want %q", name, lines, want)
			continue
		}
		for i, source := range want {
			if !strings.HasPrefix(lines[i+1], "  "+source+": ") || len(lines[i+1]) < len(source)+10 {
				t.Errorf("%s: line %q does not say why it is no %s", name, lines[i+1], source)
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"empty": "", "text": "hello", "x.json": `{"a":[{"bomFormat":1}]}`, "list.json": "[1]", "broken.json": `{"bomFormat`,
		"bom.xml": "<bom/>", "x.xz": "\xfd7zXZ\x00......", "x.tar": strings.Repeat("\x00", 1024)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("dir/blobs", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		want []string
		hint string
	}{
		{"archive:", []string{"names no image"}, ""},
		{"archive:none.tar", []string{"none.tar", "no such file"}, ""},
		{"archive:empty", []string{"empty"}, ""},
		{"archive:text", []string{"no tar archive"}, ""},
		{"archive:dir", []string{"is a directory"}, "dir:dir"},
		{"archive:x.xz", []string{"xz"}, "xz -dc"},
		{"archive:x.tar", []string{"no image archive"}, "docker save"},
		{"archive:/dev/null", []string{"empty"}, ""},
		{"oci:dir", []string{"no index.json"}, "dir:dir"},
		{"oci:none", []string{"none"}, ""},
		{"dir:text", []string{"not a directory"}, "archive:text"},
		{"dir:none", []string{"no such file"}, ""},
		{"sbom:text", []string{"no JSON"}, ""},
		{"sbom:x.json", []string{"neither a CycloneDX nor an SPDX"}, "convert"},
		{"sbom:list.json", []string{"neither a CycloneDX nor an SPDX"}, "convert"},
		{"sbom:broken.json", []string{"no JSON"}, ""},
		{"sbom:bom.xml", []string{"no JSON"}, ""},
		{"sbom:dir", []string{"not a regular file"}, ""},
		{"sbom:none", []string{"no such file"}, ""},
		{"registry:UPPER", []string{"no image reference"}, ""},
		{"-", []string{"empty"}, ""},
	} {
		o := anonymous()
		o.Stdin = strings.NewReader("")
		_, err := openAndRead(t.Context(), test.name, o)
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		wantError(t, err, test.want...)
		if hint := plimsoll.HintOf(err); !strings.Contains(hint, test.hint) {
			t.Errorf("%s: hint %q lacks %q", test.name, hint, test.hint)
		}
	}
	_, err := Open(t.Context(), "-", Options{})
	wantError(t, err, "no standard input")
}

// docker, registry and others are names of images too.
func TestImageNamedLikeSource(t *testing.T) {
	o := anonymous()
	o.Mirrors = map[string]string{"docker.io": "http://127.0.0.1:1"}
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody is asked
	_, err := Open(ctx, "docker:dind", o)
	if hint := plimsoll.HintOf(err); err == nil || !strings.Contains(hint, "registry:docker:dind") {
		t.Errorf("%v, hint %q", err, hint)
	}
}

func TestBOM(t *testing.T) {
	for what, document := range map[string]string{"cyclonedx": smallCycloneDX, "spdx": smallSPDX} {
		for _, name := range []string{inFile(t, []byte(document)), "sbom:-"} {
			img := open(t, name, Options{Stdin: strings.NewReader(document)})
			if img.Source != "sbom" || img.BOM == nil {
				t.Fatalf("%s: %+v", what, img)
			}
			if c := img.BOM.Components; len(c) != 1 || c[0].PURL != "pkg:npm/left-pad@1.3.0" {
				t.Errorf("%s: components %+v", what, c)
			}
			facts, err := img.Read(t.Context(), Reader{})
			if err != nil || facts.Source != "sbom" || img.BOM.Image.Source != "sbom" {
				t.Errorf("%s: %+v, %v", what, facts, err)
			}
		}
	}
	big := append([]byte(`{"x":"`), bytes.Repeat([]byte("y"), stdinBOM)...)
	_, err := Open(t.Context(), "sbom:-", Options{Stdin: bytes.NewReader(big)})
	wantError(t, err, "more than 32 MiB")
	_, err = Open(t.Context(), "sbom:-", Options{Stdin: strings.NewReader(strings.Repeat(`{"a":`, 2000))})
	wantError(t, err, "nested too deep")
	if _, err := Open(t.Context(), "sbom:-", Options{Stdin: strings.NewReader(`{"name":"spdxVersion","b":"bomFormat"}`)}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("values were taken for names: %v", err)
	}
}
