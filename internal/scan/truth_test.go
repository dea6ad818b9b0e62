package scan_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/image"
	"github.com/plimsoll/plimsoll/internal/scan"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

func newScanner() *scan.Scanner {
	return scan.New(image.Options{Insecure: true, Limits: plimsoll.DefaultLimits()})
}

func bomOf(t *testing.T, s *scan.Scanner, name string) *plimsoll.BOM {
	t.Helper()
	boms, err := s.BOMs(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if len(boms) != 1 {
		t.Fatalf("%s: %d images", name, len(boms))
	}
	return boms[0]
}

// comparable is the bill as JSON, without what differs from source to source
// by its nature: the image's name and the digests of what is stored there.
func comparable(t *testing.T, b *plimsoll.BOM) string {
	t.Helper()
	c := *b
	img := &c.Image
	img.Name, img.Source, img.Digest, img.ID, img.Tags = "", "", "", "", nil
	img.Layers = slices.Clone(img.Layers)
	for i := range img.Layers {
		img.Layers[i].Digest, img.Layers[i].Size, img.Layers[i].MediaType = "", 0, ""
	}
	out, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var realImages = []string{"deb-slim", "deb-web", "node-app"}

// The same image gives the same bill wherever it is read from.
func TestSameBillEverywhere(t *testing.T) {
	testenv.Need(t, "skopeo")
	socket := testenv.Docker(t)
	registry := testenv.Registry(t)
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	s := newScanner()
	for _, name := range realImages {
		t.Run(name, func(t *testing.T) {
			archive := testenv.Image(t, name)
			layout := strings.TrimSuffix(archive, ".tar") + ".oci"
			testenv.Run(t, "docker", "load", "-q", "-i", archive)
			remote := registry + "/test/" + name + ":latest"
			testenv.Run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+remote)

			want := comparable(t, bomOf(t, s, "archive:"+archive))
			for _, from := range []string{"oci:" + layout, archive, layout, "docker:" + name + ":latest", "registry:" + remote} {
				if diff := cmp.Diff(want, comparable(t, bomOf(t, s, from))); diff != "" {
					t.Errorf("%s (-archive +this):\n%s", from, diff)
				}
			}
			file, err := os.Open(archive)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			piped := newScanner()
			piped.Image.Stdin = file
			if diff := cmp.Diff(want, comparable(t, bomOf(t, piped, "-"))); diff != "" {
				t.Errorf("standard input (-archive +this):\n%s", diff)
			}
			if len(want) < 10_000 {
				t.Errorf("a bill of only %d bytes", len(want))
			}
		})
	}
}

// What the bill says is what the package managers' own tools say of the file
// system, unpacked layer by layer with tar; so is the layer that introduced
// each package.
func TestTruth(t *testing.T) {
	testenv.NeedRoot(t, "tar", "dpkg-query", "node", "python3")
	for _, name := range realImages {
		t.Run(name, func(t *testing.T) {
			archive := testenv.Image(t, name)
			b := bomOf(t, newScanner(), "archive:"+archive)
			if len(b.Gaps) > 0 {
				t.Errorf("gaps: %+v", b.Gaps)
			}
			root := t.TempDir()
			since := map[string]int{} // package -> layer, by the tools
			for i, layer := range layersOf(t, archive) {
				unpack(t, layer, root)
				now := installed(t, root)
				for p := range since {
					if !now[p] {
						delete(since, p)
					}
				}
				for p := range now {
					if _, was := since[p]; !was {
						since[p] = i
					}
				}
			}
			var want, got []string
			for p, layer := range since {
				want = append(want, fmt.Sprintf("%s layer %d", p, layer))
			}
			for _, c := range b.Components {
				for _, p := range c.Paths {
					line := c.Detector + " " + c.Name + " " + c.Version
					if c.Detector == "dpkg" {
						line += " " + c.Architecture + " source " + c.Source.Name + " " + c.Source.Version
					} else {
						line += " " + p
					}
					got = append(got, fmt.Sprintf("%s layer %d", line, c.Layer))
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("components (-tools +bill):\n%s", diff)
			}
			t.Logf("%d packages in %d layers", len(want), len(b.Image.Layers))
			if len(want) < 80 {
				t.Errorf("the tools found only %d packages", len(want))
			}
			checkOwners(t, b, root)
		})
	}
}

// layersOf extracts the archive with tar and gives its layers, lowest first.
func layersOf(t *testing.T, archive string) []string {
	t.Helper()
	dir := t.TempDir()
	testenv.Run(t, "tar", "-C", dir, "-xf", archive)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest []struct{ Layers []string }
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	var layers []string
	for _, l := range manifest[0].Layers {
		layers = append(layers, filepath.Join(dir, l))
	}
	return layers
}

// unpack puts a layer over root: what its markers hide is removed first, then
// tar unpacks the rest.
func unpack(t *testing.T, layer, root string) {
	t.Helper()
	for entry := range strings.Lines(testenv.Run(t, "tar", "-tf", layer, "--quoting-style=literal")) {
		entry = strings.TrimSpace(entry)
		base := path.Base(entry)
		if base == ".wh..wh..opq" {
			children, err := filepath.Glob(filepath.Join(root, path.Dir(entry), "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range children {
				if err := os.RemoveAll(c); err != nil {
					t.Fatal(err)
				}
			}
		} else if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			if err := os.RemoveAll(filepath.Join(root, path.Dir(entry), hidden)); err != nil {
				t.Fatal(err)
			}
		}
	}
	testenv.Run(t, "tar", "-C", root, "-xf", layer, "--exclude=.wh.*", "--exclude=dev/*", "--overwrite")
}

// installed is what dpkg-query, node and Python say is in root.
func installed(t *testing.T, root string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	add := func(out string) {
		for line := range strings.Lines(out) {
			all[strings.TrimSpace(line)] = true
		}
	}
	add(testenv.Run(t, "dpkg-query", "--admindir", filepath.Join(root, "var/lib/dpkg"), "-W",
		"-f=dpkg ${Package} ${Version} ${Architecture} source ${source:Package} ${source:Version}\n"))
	add(testenv.Run(t, "python3", "-I", "-c", `
import importlib.metadata as m, os, sys
root = sys.argv[1]
for d, dirs, files in os.walk(root):
    if os.path.basename(d) not in ("site-packages", "dist-packages"): continue
    for x in m.distributions(path=[d]):
        p = str(x._path)
        if os.path.isdir(p): p += "/METADATA" if p.endswith(".dist-info") else "/PKG-INFO"
        print("python", x.metadata["Name"], x.version, os.path.relpath(p, root))
`, root))
	script := filepath.Join(t.TempDir(), "walk.js")
	if err := os.WriteFile(script, []byte(`
const fs = require("fs"), path = require("path"), root = process.argv[2];
function look(dir) { // a package is what node itself would resolve by the directory's name
  let p; try { p = JSON.parse(fs.readFileSync(path.join(dir, "package.json"), "utf8")); } catch { return; }
  if (p.name && p.version) console.log("npm", p.name, p.version, path.relative(root, path.join(dir, "package.json")));
}
function walk(dir, inside) {
  let list; try { list = fs.readdirSync(dir, {withFileTypes: true}); } catch { return; }
  for (const e of list) {
    if (!e.isDirectory()) continue;
    const sub = path.join(dir, e.name);
    if (e.name === "node_modules" || sub === path.join(root, "usr/share/nodejs")) {
      for (const m of fs.readdirSync(sub, {withFileTypes: true})) {
        if (!m.isDirectory()) continue;
        const top = path.join(sub, m.name);
        if (m.name[0] === "@") for (const n of fs.readdirSync(top, {withFileTypes: true})) { if (n.isDirectory()) look(path.join(top, n.name)); }
        else look(top);
      }
    } else if (!inside) look(sub);
    walk(sub, inside || e.name === "node_modules" || sub === path.join(root, "usr/share/nodejs"));
  }
}
walk(root, false);
`), 0o644); err != nil {
		t.Fatal(err)
	}
	add(testenv.Run(t, "node", script, root))
	return all
}

// checkOwners holds the owners of components against dpkg -S.
func checkOwners(t *testing.T, b *plimsoll.BOM, root string) {
	t.Helper()
	owned := 0
	for _, c := range b.Components {
		if c.IsOS() {
			continue
		}
		out, err := exec.Command("dpkg-query", "--admindir", filepath.Join(root, "var/lib/dpkg"), "-S", "/"+c.Paths[0]).Output()
		want := ""
		if err == nil {
			want, _, _ = strings.Cut(string(out), ":")
			owned++
		}
		got, _, _ := strings.Cut(strings.TrimPrefix(c.Owner, "pkg:deb/debian/"), "@")
		if got != want {
			t.Errorf("%s: the bill says %q owns it, dpkg says %q", c.Paths[0], got, want)
		}
	}
	t.Logf("%d components belong to Debian packages", owned)
}
