package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// ways are the ways in which one archive can be read.
func ways(t *testing.T, archive []byte, test func(t *testing.T, name string, o Options)) {
	t.Run("file", func(t *testing.T) { test(t, "archive:"+inFile(t, archive), Options{}) })
	t.Run("stream", func(t *testing.T) { test(t, "archive:-", Options{Stdin: bytes.NewReader(archive)}) })
	t.Run("gzip file", func(t *testing.T) { test(t, "archive:"+inFile(t, gzipped(t, archive)), Options{}) })
	t.Run("zstd stream", func(t *testing.T) { test(t, "archive:-", Options{Stdin: bytes.NewReader(zstded(t, archive))}) })
}

func TestArchive(t *testing.T) {
	m := makeImage(t, "linux/amd64", 4)
	for form, files := range map[string][]file{
		"docker": dockerFiles(t, m, "example.org/app:1"),
		"oci":    layoutFiles(indexOf(t, m.entry("example.org/app:1")), m),
	} {
		t.Run(form, func(t *testing.T) {
			ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
				facts, k := readAll(t, name, o)
				if facts.ID != m.id() || facts.Platform.String() != "linux/amd64" || facts.Labels["maker"] != "test" || facts.Source != "archive" {
					t.Errorf("facts: %+v", facts)
				}
				if want := map[string]plimsoll.Digest{"docker": "", "oci": m.digest()}[form]; facts.Digest != want {
					t.Errorf("digest %q, want %q", facts.Digest, want)
				}
				if !slices.Equal(facts.Tags, []string{"example.org/app:1"}) {
					t.Errorf("tags %q", facts.Tags)
				}
				if facts.Created.IsZero() {
					t.Error("no time of creation")
				}
				for i, l := range facts.Layers {
					if l.DiffID != plimsoll.SHA256(m.plain[i]) || l.Step != fmt.Sprintf("RUN step %d", i) || l.Comment != "made" {
						t.Errorf("layer %d: %+v", i, l)
					}
					stored := map[string][]byte{"docker": m.plain[i], "oci": m.stored[i]}[form]
					if l.Size != int64(len(stored)) || form == "oci" && l.Digest != plimsoll.SHA256(stored) {
						t.Errorf("layer %d: %d bytes as %s, want %d as %s", i, l.Size, l.Digest, len(stored), plimsoll.SHA256(stored))
					}
				}
				if len(k.read) != 4 {
					t.Errorf("%d layers were read, want 4", len(k.read))
				}
			})
		})
	}
}

// Every source of a real image tells the same: the configuration that skopeo
// sees. All of its layers verify.
func TestRealImage(t *testing.T) {
	t.Parallel()
	archive := testenv.Image(t, "deb-slim")
	testenv.Need(t, "skopeo", "gzip")
	layout := strings.TrimSuffix(archive, ".tar") + ".oci"
	dir := t.TempDir()
	truth, err := parseConfig([]byte(testenv.Run(t, "skopeo", "inspect", "--config", "--raw", "docker-archive:"+archive)))
	if err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string][]string{
		archive:                     nil,
		"oci:" + layout + ":latest": nil,
		"-":                         nil,
		dir + "/image.tar.gz":       {"sh", "-c", `gzip -1 <"$0" >"$1"`, archive, dir + "/image.tar.gz"},
		dir + "/oci.tar":            {"skopeo", "copy", "-q", "oci:" + layout, "oci-archive:" + dir + "/oci.tar:app:1"},
		"archive:" + dir + "/docker.tar:docker.io/library/app:1": {"skopeo", "copy", "-q", "oci:" + layout, "docker-archive:" + dir + "/docker.tar:app:1"},
		"oci:" + dir + "/zstd": {"skopeo", "copy", "-q", "--dest-compress-format", "zstd", "--dest-compress-level", "1", "oci:" + layout, "oci:" + dir + "/zstd:latest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if prepare != nil {
				testenv.Run(t, prepare[0], prepare[1:]...)
			}
			stdin, err := os.Open(archive)
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			facts, k := readAll(t, name, Options{Stdin: stdin})
			if len(facts.Layers) != len(truth.RootFS.DiffIDs) || len(facts.Layers) < 3 {
				t.Fatalf("%d layers, want %d", len(facts.Layers), len(truth.RootFS.DiffIDs))
			}
			for i, l := range facts.Layers {
				if l.DiffID != truth.RootFS.DiffIDs[i] {
					t.Errorf("layer %d is %s, want %s", i, l.DiffID, truth.RootFS.DiffIDs[i])
				}
				if l.Step == "" && l.Comment == "" {
					t.Errorf("layer %d has no step", i)
				}
			}
			if !slices.Contains(k.entries, "var/lib/dpkg/status") {
				t.Errorf("no dpkg database among %d entries", len(k.entries))
			}
		})
	}
}

func TestPassesOverKnownLayers(t *testing.T) {
	m := makeImage(t, "linux/amd64", 3)
	// Layer 2 is stored as plain tar, so that its name in the OCI form is its
	// diff ID; skopeo names every layer so in the old form.
	known := map[plimsoll.Digest]bool{plimsoll.SHA256(m.plain[2]): true}
	skopeo := []file{{name: m.id().Hex() + ".json", body: m.config}}
	var layers []string
	for _, l := range m.plain {
		name := plimsoll.SHA256(l).Hex() + ".tar"
		skopeo, layers = append(skopeo, file{name: name, body: l}), append(layers, name)
	}
	skopeo = append(skopeo, file{name: "manifest.json", body: as(t, []object{{"Config": m.id().Hex() + ".json", "Layers": layers}})})
	for form, files := range map[string][]file{"oci": layoutFiles(indexOf(t, m.entry("")), m), "skopeo": skopeo} {
		t.Run(form, func(t *testing.T) {
			ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
				k := &taker{known: known}
				facts, err := open(t, name, o).Read(t.Context(), k.reader())
				if err != nil {
					t.Fatal(err)
				}
				if len(k.read) != 2 || len(facts.Layers) != 3 {
					t.Errorf("%d of %d layers were read, want 2 of 3", len(k.read), len(facts.Layers))
				}
			})
		})
	}
	t.Run("a name that lies", func(t *testing.T) {
		files := slices.Clone(skopeo)
		for i := range files {
			switch files[i].name {
			case layers[0]:
				files[i].name = layers[2]
			case layers[2]:
				files[i].name = layers[0]
			}
		}
		lying := replace(t, files, "manifest.json", as(t, []object{{"Config": m.id().Hex() + ".json", "Layers": []string{layers[2], layers[1], layers[0]}}}))
		_, err := open(t, "archive:-", Options{Stdin: bytes.NewReader(tarOf(t, lying...))}).Read(t.Context(), (&taker{known: known}).reader())
		wantError(t, err, "layer 0", layers[2], string(plimsoll.SHA256(m.plain[2])), string(plimsoll.SHA256(m.plain[0])))
	})
}

// Random access gives layers in parallel, and each can be read again.
func TestArchiveAtRandom(t *testing.T) {
	m := makeImage(t, "linux/amd64", 4)
	gate := make(chan struct{})
	k := &taker{parallel: 2}
	k.during = func() { // returns when two layers are being read
		select {
		case gate <- struct{}{}:
		case <-gate:
		}
	}
	if _, err := open(t, inFile(t, tarOf(t, dockerFiles(t, m)...)), Options{}).Read(t.Context(), k.reader()); err != nil {
		t.Fatal(err)
	}
	if k.most != 2 {
		t.Errorf("%d layers were read at one time, want 2", k.most)
	}
	for _, l := range k.layers {
		again, err := l.Again(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(again)
		if err := errors.Join(err, again.Close()); err != nil {
			t.Fatal(err)
		}
		if plimsoll.SHA256(content) != l.DiffID || int64(len(content)) != l.Size || l.At == nil {
			t.Errorf("%s: the second reading gives %s", l.Label, plimsoll.SHA256(content))
		}
	}
}

// What three scanners miss: content that was changed under its name.
func TestAlteredLayer(t *testing.T) {
	m := makeImage(t, "linux/amd64", 4)
	evil := bytes.Replace(m.plain[1], []byte("layer 1"), []byte("LAYER 1"), 1)
	t.Run("docker", func(t *testing.T) {
		path := fmt.Sprintf("%064x/layer.tar", 1)
		files := replace(t, dockerFiles(t, m), path, evil)
		ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
			_, err := openAndRead(t.Context(), name, o)
			wantAltered(t, err, plimsoll.SHA256(m.plain[1]), plimsoll.SHA256(evil), "layer 1", path)
		})
	})
	stored := plimsoll.SHA256(m.stored[1])
	for what, body := range map[string][]byte{"plain": evil, "compressed": zstded(t, evil)} {
		// Padded to the size in the descriptor, so that only the digest tells.
		if n := len(m.stored[1]); what == "compressed" && len(body) < n {
			body = append(body, make([]byte, n-len(body))...)
		}
		t.Run("oci "+what, func(t *testing.T) {
			files := replace(t, layoutFiles(indexOf(t, m.entry("")), m), "blobs/sha256/"+stored.Hex(), body)
			ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
				_, err := openAndRead(t.Context(), name, o)
				if len(body) != len(m.stored[1]) && strings.HasSuffix(t.Name(), "/file") {
					wantError(t, err, "layer 1", stored.Hex(), "bytes")
				} else {
					wantAltered(t, err, stored, plimsoll.SHA256(body), "layer", stored.Hex())
				}
			})
			t.Run("layout", func(t *testing.T) {
				_, err := openAndRead(t.Context(), "oci:"+inDir(t, files), Options{})
				wantError(t, err, "layer 1", stored.Short())
			})
		})
	}
	t.Run("oci, other diff ID", func(t *testing.T) {
		// The blob is what its name says, but not what the configuration says.
		m := makeImage(t, "linux/amd64", 2, func(config, manifest object) {
			config["rootfs"] = object{"diff_ids": []plimsoll.Digest{plimsoll.SHA256(m.plain[0]), plimsoll.SHA256(evil)}}
		})
		files := layoutFiles(indexOf(t, m.entry("")), m)
		ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
			_, err := openAndRead(t.Context(), name, o)
			wantAltered(t, err, plimsoll.SHA256(evil), plimsoll.SHA256(m.plain[1]), "layer 1", "diff ID")
		})
		t.Run("layout", func(t *testing.T) {
			_, err := openAndRead(t.Context(), "oci:"+inDir(t, files), Options{})
			wantAltered(t, err, plimsoll.SHA256(evil), plimsoll.SHA256(m.plain[1]), "layer 1", "diff ID")
		})
	})
}

// The same with a real image: one package's version is changed in place.
func TestAlteredRealImage(t *testing.T) {
	t.Parallel()
	archive := testenv.Image(t, "deb-slim")
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(content, []byte("\nVersion: "))
	if i < 0 {
		t.Fatal("no package in the archive")
	}
	content[i+len("\nVersion: ")] ^= 1
	for _, o := range []Options{{}, {Stdin: bytes.NewReader(content)}} {
		name := "-"
		if o.Stdin == nil {
			name = inFile(t, content)
		}
		_, err := openAndRead(t.Context(), name, o)
		wantError(t, err, "layer 0", "/layer.tar", "altered")
	}

	layout := strings.TrimSuffix(archive, ".tar") + ".oci"
	altered := filepath.Join(t.TempDir(), "layout")
	testenv.Run(t, "cp", "-r", layout, altered)
	blobs, err := filepath.Glob(altered + "/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(blobs, func(a, b string) int { return int(size(t, b) - size(t, a)) })
	f, err := os.OpenFile(blobs[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0}, 4); err != nil { // the time in the gzip header: it still inflates
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 5); err != nil {
		t.Fatal(err)
	}
	_, err = openAndRead(t.Context(), altered, Options{})
	wantError(t, err, "layer 0", filepath.Base(blobs[0]), "altered")
}

func size(t testing.TB, path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// An archive cut anywhere is an error, never half an image.
func TestTruncatedArchive(t *testing.T) {
	t.Parallel()
	m := makeImage(t, "linux/amd64", 3)
	for form, files := range map[string][]file{"docker": dockerFiles(t, m), "oci": layoutFiles(indexOf(t, m.entry("")), m)} {
		whole := tarOf(t, files...)
		end := len(whole) - 1024 // the two blocks of zeros at the end may be missing
		if form == "oci" {
			end -= 1024 // oci-layout says nothing
		}
		for n := 0; n < end; n += 256 {
			name := fmt.Sprintf("%s cut after %d of %d", form, n, len(whole))
			path := inFile(t, whole[:n])
			if _, err := openAndRead(t.Context(), "archive:"+path, Options{}); err == nil {
				t.Errorf("%s: no error from the file", name)
			}
			if _, err := openAndRead(t.Context(), "archive:-", Options{Stdin: bytes.NewReader(whole[:n])}); err == nil {
				t.Errorf("%s: no error from the stream", name)
			}
		}
		packed := gzipped(t, whole)
		for n := 0; n < len(packed); n += 41 {
			if _, err := openAndRead(t.Context(), "archive:-", Options{Stdin: bytes.NewReader(packed[:n])}); err == nil {
				t.Errorf("%s: no error from gzip cut after %d of %d", form, n, len(packed))
			}
		}
	}
	_, err := openAndRead(t.Context(), "archive:-", Options{Stdin: bytes.NewReader(tarOf(t, dockerFiles(t, m)...)[:3000])})
	wantError(t, err, "truncated")
}

func TestSeveralImages(t *testing.T) {
	a, b := makeImage(t, "linux/amd64", 1), makeImage(t, "linux/amd64", 2)
	docker := dockerFiles(t, b)
	docker = docker[:len(docker)-1]
	entry := func(m *made, n int, tag string) object {
		var layers []string
		for i := range n {
			layers = append(layers, fmt.Sprintf("%064x/layer.tar", i))
		}
		return object{"Config": m.id().Hex() + ".json", "RepoTags": []string{tag}, "Layers": layers}
	}
	docker = append(docker, file{name: a.id().Hex() + ".json", body: a.config},
		file{name: "manifest.json", body: as(t, []object{entry(a, 1, "app:a"), entry(b, 2, "app:b")})})
	containerd := func(m *made, name string) object {
		d := m.entry("latest")
		delete(d, "platform")
		d["annotations"].(object)["io.containerd.image.name"] = name
		return d
	}
	for form, files := range map[string][]file{
		"docker":     docker,
		"oci":        layoutFiles(indexOf(t, a.entry("docker.io/library/app:a"), b.entry("docker.io/library/app:b")), a, b),
		"containerd": layoutFiles(indexOf(t, containerd(a, "docker.io/library/app:a"), containerd(b, "docker.io/library/app:b")), a, b),
	} {
		t.Run(form, func(t *testing.T) {
			archive := tarOf(t, files...)
			ways(t, archive, func(t *testing.T, name string, o Options) {
				_, err := openAndRead(t.Context(), name, o)
				wantError(t, err, "several images", "app:a", "app:b")
				if !strings.Contains(plimsoll.HintOf(err), "colon") {
					t.Errorf("hint %q", plimsoll.HintOf(err))
				}
			})
			for ref, want := range map[string]*made{"app:a": a, "docker.io/library/app:b": b} {
				ways(t, archive, func(t *testing.T, name string, o Options) {
					facts, _ := readAll(t, name+":"+ref, o)
					if facts.ID != want.id() {
						t.Errorf("%s is %s, want %s", ref, facts.ID, want.id())
					}
				})
			}
			ways(t, archive, func(t *testing.T, name string, o Options) {
				_, err := openAndRead(t.Context(), name+":app:c", o)
				wantError(t, err, "app:c")
				if hint := plimsoll.HintOf(err); !strings.Contains(hint, "app:a") {
					t.Errorf("hint %q does not say what there is", hint)
				}
			})
		})
	}
	t.Run("nothing tells them apart", func(t *testing.T) {
		files := layoutFiles(indexOf(t, a.entry("latest"), b.entry("latest")), a, b)
		_, err := openAndRead(t.Context(), "oci:"+inDir(t, files), Options{Platform: "linux/amd64"})
		wantError(t, err, "several images for linux/amd64", string(a.digest()), string(b.digest()))
		facts, _ := readAll(t, "oci:"+inDir(t, files)+"@"+string(b.digest()), Options{})
		if facts.Digest != b.digest() {
			t.Errorf("got %s, want %s", facts.Digest, b.digest())
		}
	})
}

// Old versions of Docker wrote the layer of a second image as a link to that
// of the first.
func TestLinkedLayers(t *testing.T) {
	m := makeImage(t, "linux/amd64", 2)
	first, second := fmt.Sprintf("%064x/layer.tar", 0), fmt.Sprintf("%064x/layer.tar", 1)
	base := dockerFiles(t, m)
	linked := func(links ...file) []byte {
		files := without(base, first)
		return tarOf(t, slices.Concat(links, []file{{name: "shared/layer.tar", body: m.plain[0]}}, files)...)
	}
	for what, links := range map[string][]file{
		"symbolic": {{name: first, typ: tar.TypeSymlink, link: "../shared/layer.tar"}},
		"absolute": {{name: first, typ: tar.TypeSymlink, link: "/shared/layer.tar"}},
		"hard":     {{name: first, typ: tar.TypeLink, link: "shared/layer.tar"}},
		"chain":    {{name: first, typ: tar.TypeSymlink, link: "../a/b"}, {name: "a/b", typ: tar.TypeSymlink, link: "../shared/layer.tar"}, {name: "a/b.tar", typ: tar.TypeSymlink, link: "x"}},
	} {
		if what == "chain" { // only names that can be a layer's are kept of a stream
			links[0].link, links[1].name = "../a/b.tar", "a/b.tar"
			links = links[:2]
		}
		t.Run(what, func(t *testing.T) {
			ways(t, linked(links...), func(t *testing.T, name string, o Options) { readAll(t, name, o) })
		})
	}
	for what, links := range map[string][]file{
		"circle":  {{name: first, typ: tar.TypeSymlink, link: "../" + first}},
		"circles": {{name: first, typ: tar.TypeSymlink, link: "../x.tar"}, {name: "x.tar", typ: tar.TypeSymlink, link: first}},
	} {
		t.Run(what, func(t *testing.T) {
			ways(t, linked(links...), func(t *testing.T, name string, o Options) {
				_, err := openAndRead(t.Context(), name, o)
				wantError(t, err, "layer 0", "circle")
			})
		})
	}
	t.Run("out of the archive", func(t *testing.T) {
		ways(t, linked(file{name: first, typ: tar.TypeSymlink, link: "../../../../../etc/passwd"}), func(t *testing.T, name string, o Options) {
			_, err := openAndRead(t.Context(), name, o)
			wantError(t, err, "layer 0", "does not have it")
		})
	})
	t.Run("to another layer", func(t *testing.T) {
		ways(t, linked(file{name: first, typ: tar.TypeSymlink, link: "../" + second}), func(t *testing.T, name string, o Options) {
			_, err := openAndRead(t.Context(), name, o)
			wantAltered(t, err, plimsoll.SHA256(m.plain[0]), plimsoll.SHA256(m.plain[1]), "layer 0")
		})
	})
}

func TestHostileArchives(t *testing.T) {
	m := makeImage(t, "linux/amd64", 2)
	docker, oci := dockerFiles(t, m), layoutFiles(indexOf(t, m.entry("")), m)
	config, layer := m.id().Hex()+".json", fmt.Sprintf("%064x/layer.tar", 1)
	spoiled := func(change func(config, manifest object)) []file {
		m := makeImage(t, "linux/amd64", 2, change)
		return layoutFiles(indexOf(t, m.entry("")), m)
	}
	spoiledDocker := func(change func(config, manifest object)) []file {
		return dockerFiles(t, makeImage(t, "linux/amd64", 2, change))
	}
	huge := append([]byte(`{"x":"`), bytes.Repeat([]byte("y"), jsonLimit)...)
	nothing := plimsoll.SHA256([]byte("nothing"))
	for what, test := range map[string]struct {
		files []file
		want  []string
	}{
		"empty":                      {nil, []string{"manifest.json"}},
		"root file system":           {[]file{{name: "etc/passwd"}, {name: "usr/lib/os-release"}}, []string{"no image archive"}},
		"no manifest":                {without(docker, "manifest.json"), []string{"neither an index.json nor a manifest.json"}},
		"no configuration":           {without(docker, config), []string{config, "not there"}},
		"no layer":                   {without(docker, layer), []string{"layer 1", layer}},
		"no blob":                    {without(oci, "blobs/sha256/"+plimsoll.SHA256(m.stored[0]).Hex()), []string{"layer 0", "does not have it"}},
		"no manifest blob":           {without(oci, "blobs/sha256/"+m.digest().Hex()), []string{m.digest().Hex(), "not there"}},
		"no configuration blob":      {without(oci, "blobs/sha256/"+m.id().Hex()), []string{m.id().Hex(), "not there"}},
		"configuration is none":      {replace(t, docker, config, []byte("plain text")), []string{"altered"}},
		"configuration altered":      {replace(t, docker, config, bytes.Replace(m.config, []byte("test"), []byte("evil"), 1)), []string{"configuration", "altered", m.id().Hex()}},
		"configuration blob altered": {replace(t, oci, "blobs/sha256/"+m.id().Hex(), bytes.Replace(m.config, []byte("test"), []byte("evil"), 1)), []string{"configuration", "altered"}},
		"manifest blob altered":      {replace(t, oci, "blobs/sha256/"+m.digest().Hex(), bytes.Replace(m.manifest, []byte("gzip"), []byte("zstd"), 1)), []string{"manifest", "altered"}},
		"configuration is a layer":   {replace(t, docker, config, m.plain[0]), []string{"configuration"}},
		"huge configuration":         {replace(t, docker, config, huge), []string{config, "4 MiB"}},
		"huge manifest":              {replace(t, docker, "manifest.json", huge), []string{"manifest.json", "4 MiB"}},
		"manifest is no JSON":        {replace(t, docker, "manifest.json", []byte("[{")), []string{"parsing manifest.json"}},
		"no image":                   {replace(t, docker, "manifest.json", []byte("[]")), []string{"names no image"}},
		"an empty index":             {replace(t, oci, "index.json", []byte(`{"manifests":[]}`)), []string{"names no image"}},
		"index is an image":          {replace(t, oci, "index.json", m.manifest), []string{"not an index"}},
		"index is both":              {replace(t, oci, "index.json", []byte(`{"manifests":[],"config":{},"layers":[]}`)), []string{"ambiguous"}},
		"a path as digest":           {replace(t, oci, "index.json", []byte(`{"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1}]}`)), []string{"digest"}},
		"a negative size":            {replace(t, oci, "index.json", fmt.Appendf(nil, `{"manifests":[{"digest":"%s","size":-1}]}`, m.digest())), []string{"size -1"}},
		"a huge size":                {replace(t, oci, "index.json", fmt.Appendf(nil, `{"manifests":[{"digest":"%s","size":9000000000000000000}]}`, m.digest())), []string{"4 MiB"}},
		"a wrong size":               {replace(t, oci, "index.json", fmt.Appendf(nil, `{"manifests":[{"digest":"%s","size":7}]}`, m.digest())), []string{"not 7"}},
		"one diff ID too few":        {spoiled(func(config, _ object) { config["rootfs"] = object{"diff_ids": []string{string(nothing)}} }), []string{"2 layers", "1 diff IDs"}},
		"one diff ID too many": {spoiledDocker(func(config, _ object) {
			config["rootfs"] = object{"diff_ids": []plimsoll.Digest{nothing, nothing, nothing}}
		}), []string{"2 layers", "3 diff IDs"}},
		"a bad diff ID": {spoiledDocker(func(config, _ object) { config["rootfs"] = object{"diff_ids": []string{"md5:1", "x"}} }), []string{"diff ID 0", "md5"}},
		"no layers":     {spoiled(func(_, manifest object) { delete(manifest, "layers") }), []string{"0 layers", "2 diff IDs"}},
		"not an image": {spoiled(func(config, manifest object) {
			manifest["config"] = describe("application/vnd.cncf.helm.config.v1+json", as(t, config))
		}), []string{"no container image", "helm"}},
		"encrypted": {spoiled(func(_, manifest object) {
			manifest["layers"].([]object)[1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
		}), []string{"layer 1", "encrypted"}},
		"an index in itself": {replace(t, oci, "index.json", indexOf(t, describe(ociIndex, []byte("{}")))), []string{"not there"}},
	} {
		t.Run(what, func(t *testing.T) {
			ways(t, tarOf(t, test.files...), func(t *testing.T, name string, o Options) {
				_, err := openAndRead(t.Context(), name, o)
				wantError(t, err, test.want...)
			})
		})
	}
}

// Names that climb out of an archive lead nowhere, and nothing is written.
func TestPathEscape(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	name := fmt.Sprintf("%064x/layer.tar", 0)
	files := without(dockerFiles(t, m), name)
	files = append([]file{{name: "../../../" + name, body: m.plain[0]}}, files...)
	ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) { readAll(t, name, o) })
}

// The last of two members of one name counts, as for who unpacks the archive.
func TestMemberTwice(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	name := fmt.Sprintf("%064x/layer.tar", 0)
	evil := tarOf(t, file{name: "evil"})
	good := file{name: name, body: m.plain[0]}
	bad := file{name: name, body: evil}
	files := without(dockerFiles(t, m), name)
	ways(t, tarOf(t, append([]file{bad, good}, files...)...), func(t *testing.T, name string, o Options) { readAll(t, name, o) })
	ways(t, tarOf(t, append([]file{good, bad}, files...)...), func(t *testing.T, name string, o Options) {
		_, err := openAndRead(t.Context(), name, o)
		wantAltered(t, err, plimsoll.SHA256(m.plain[0]), plimsoll.SHA256(evil), "layer 0")
	})
}

func TestManyLayers(t *testing.T) {
	t.Parallel()
	m := withPlainLayers(t, makeImage(t, "linux/amd64", 2000))
	for _, files := range [][]file{dockerFiles(t, m), layoutFiles(indexOf(t, m.entry("")), m)} {
		archive := tarOf(t, files...)
		for _, o := range []Options{{}, {Stdin: bytes.NewReader(archive)}} {
			name := "-"
			if o.Stdin == nil {
				name = inFile(t, archive)
			}
			var read []plimsoll.Digest
			facts, err := open(t, name, o).Read(t.Context(), hashing(&read))
			if err != nil {
				t.Fatal(err)
			}
			if len(facts.Layers) != 2000 || len(read) != 2000 {
				t.Errorf("%d layers, %d were read", len(facts.Layers), len(read))
			}
		}
	}
}

// A layer that is no tar archive is an error that names it, and an empty one
// is a layer without files.
func TestLayerIsNoTar(t *testing.T) {
	for content, wanted := range map[string]string{"": "", "#!/bin/sh\n": "layer 0", strings.Repeat("\x01", jsonLimit+1): "layer 0"} {
		m := makeImage(t, "linux/amd64", 1)
		m.plain = [][]byte{[]byte(content)}
		m = withPlainLayers(t, withDiffIDs(t, m))
		for _, files := range [][]file{dockerFiles(t, m), layoutFiles(indexOf(t, m.entry("")), m)} {
			ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
				_, err := openAndRead(t.Context(), name, o)
				if wanted != "" {
					wantError(t, err, wanted)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// docker save of one image under two names lists it twice.
func TestTwoNames(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	files := layoutFiles(indexOf(t, m.entry("example.org/app:1"), m.entry("example.org/app:2")), m)
	ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
		facts, _ := readAll(t, name, o)
		if !slices.Equal(facts.Tags, []string{"example.org/app:1", "example.org/app:2"}) {
			t.Errorf("tags %q", facts.Tags)
		}
	})
}

// The OCI specification has a second algorithm.
func TestSHA512(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	describe512 := func(b []byte) object {
		return object{"mediaType": "", "digest": digestLike("sha512:", b), "size": len(b)}
	}
	config, layer := m.config, m.stored[0]
	manifest := as(t, object{"schemaVersion": 2, "config": describe512(config), "layers": []object{describe512(layer)}})
	index := indexOf(t, describe512(manifest))
	build := func(layer, config []byte) []file {
		files := []file{{name: "oci-layout", body: []byte("{}")}}
		for d, b := range map[plimsoll.Digest][]byte{digestLike("sha512:", m.config): config, digestLike("sha512:", m.stored[0]): layer, digestLike("sha512:", manifest): manifest} {
			files = append(files, file{name: "blobs/sha512/" + d.Hex(), body: b})
		}
		return append(files, file{name: "index.json", body: index})
	}
	for _, name := range []string{"oci:" + inDir(t, build(layer, config)), inFile(t, tarOf(t, build(layer, config)...))} {
		if facts, _ := readAll(t, name, Options{}); facts.Digest != digestLike("sha512:", manifest) {
			t.Errorf("%s: %s", name, facts.Digest)
		}
	}
	evil := bytes.Clone(layer)
	evil[5] ^= 1 // a part of the time
	_, err := openAndRead(t.Context(), "oci:"+inDir(t, build(evil, config)), Options{})
	wantAltered(t, err, digestLike("sha512:", layer), digestLike("sha512:", evil), "layer 0")
	_, err = openAndRead(t.Context(), "oci:"+inDir(t, build(layer, append(bytes.Clone(config[:len(config)-1]), ' '))), Options{})
	wantError(t, err, "configuration", "altered")
}

// A label that is wrong does no harm as long as the digests hold.
func TestWrongMediaType(t *testing.T) {
	m := makeImage(t, "linux/amd64", 3, func(_, manifest object) {
		for i, l := range manifest["layers"].([]object) {
			l["mediaType"] = "application/vnd.oci.image.layer.v1.tar" + []string{"+zstd", "", "+gzip"}[i]
		}
	})
	files := layoutFiles(indexOf(t, m.entry("")), m)
	ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) { readAll(t, name, o) })
	readAll(t, "oci:"+inDir(t, files), Options{})
}

// GNU tar can write an archive whose members have holes.
func TestSparseArchive(t *testing.T) {
	testenv.Need(t, "tar")
	m := makeImage(t, "linux/amd64", 1)
	m.plain[0] = append(m.plain[0], make([]byte, 1<<20)...) // zeros after the end are part of the layer
	m = withDiffIDs(t, m)
	dir := inDir(t, without(dockerFiles(t, m), fmt.Sprintf("%064x/", 0)))
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%064x/layer.tar", 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.TrimRight(m.plain[0], "\x00")); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(len(m.plain[0]))); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "posix"} {
		archive := filepath.Join(t.TempDir(), "sparse.tar")
		testenv.Run(t, "tar", "--format="+format, "-S", "-C", dir, "-cf", archive, ".")
		if size(t, archive) > 1<<19 {
			t.Skip("the file system keeps no holes")
		}
		readAll(t, "archive:"+archive, Options{})
	}
}

// withDiffIDs makes the configuration fit the layers.
func withDiffIDs(t testing.TB, m *made) *made {
	var diffIDs []plimsoll.Digest
	for _, l := range m.plain {
		diffIDs = append(diffIDs, plimsoll.SHA256(l))
	}
	changed := *m
	changed.config = as(t, object{"os": "linux", "architecture": "amd64", "rootfs": object{"diff_ids": diffIDs}})
	return &changed
}

func TestArchiveFromPipe(t *testing.T) {
	m := makeImage(t, "linux/amd64", 2)
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, _ = f.Write(tarOf(t, dockerFiles(t, m)...))
			_ = f.Close()
		}
	}()
	readAll(t, path, Options{})
}

func TestArchiveBomb(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	h := tarOf(t, file{name: "x"})[:512]
	if _, err := w.Write(h); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	limits := plimsoll.DefaultLimits()
	limits.Ratio = 50
	r, err := inflated(&packed, limits)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	wantError(t, err, "50-fold", "--max-ratio")
	if n < 60<<20 || n > 80<<20 {
		t.Errorf("it was stopped after %d bytes", n)
	}
}

func TestArchiveEntries(t *testing.T) {
	m := makeImage(t, "linux/amd64", 3)
	limits := plimsoll.DefaultLimits()
	limits.Entries = 5
	ways(t, tarOf(t, dockerFiles(t, m)...), func(t *testing.T, name string, o Options) {
		o.Limits = limits
		_, err := openAndRead(t.Context(), name, o)
		wantError(t, err, "more than 5 entries", "--max-entries")
	})
}

func TestCancelled(t *testing.T) {
	m := makeImage(t, "linux/amd64", 3)
	ways(t, tarOf(t, dockerFiles(t, m)...), func(t *testing.T, name string, o Options) {
		img := open(t, name, o)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := img.Read(ctx, (&taker{}).reader()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStreamOnce(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	img := open(t, "-", Options{Stdin: bytes.NewReader(tarOf(t, dockerFiles(t, m)...))})
	if _, err := img.Read(t.Context(), (&taker{}).reader()); err != nil {
		t.Fatal(err)
	}
	_, err := img.Read(t.Context(), (&taker{}).reader())
	wantError(t, err, "once")
}
