package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

// taker takes layers in the way the scanner does: inflates and verifies them
// with tarstream.
type taker struct {
	known    map[plimsoll.Digest]bool
	parallel int

	mu      sync.Mutex
	read    []plimsoll.Digest // diff IDs, as computed
	layers  []*Layer
	entries []string
	now     int // layers being read
	most    int // and how many that were at one time
	during  func()
}

func (k *taker) reader() Reader {
	return Reader{
		Have:     func(d plimsoll.Digest) bool { return k.known[d] },
		Layer:    k.layer,
		Parallel: max(1, k.parallel),
	}
}

func (k *taker) layer(ctx context.Context, l *Layer) (plimsoll.Digest, error) {
	k.mu.Lock()
	k.now++
	k.most = max(k.most, k.now)
	k.layers = append(k.layers, l)
	k.mu.Unlock()
	defer func() { k.mu.Lock(); k.now--; k.mu.Unlock() }()
	if k.during != nil {
		k.during()
	}
	if l.Files != nil {
		_, err := k.files(l.Files)
		return "", err
	}
	s, err := tarstream.Open(ctx, l.Stored, tarstream.Options{Label: l.Label, Digest: l.Digest, DiffID: l.DiffID, At: l.At, Limits: plimsoll.DefaultLimits()})
	if err != nil {
		return "", err
	}
	defer s.Close()
	if _, err := k.files(s); err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.read = append(k.read, s.DiffID())
	return s.DiffID(), nil
}

func (k *taker) files(files tarstream.Files) (int, error) {
	for n := 0; ; n++ {
		e, err := files.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		k.mu.Lock()
		k.entries = append(k.entries, e.Path)
		k.mu.Unlock()
	}
}

// open is Open for a test that wants one image.
func open(t testing.TB, name string, o Options) *Image {
	t.Helper()
	images, err := Open(t.Context(), name, o)
	if err != nil {
		t.Fatalf("Open(%q): %v", name, err)
	}
	if len(images) != 1 {
		t.Fatalf("Open(%q): %d images, want 1", name, len(images))
	}
	return images[0]
}

// readAll opens an image, reads all its layers and checks that what it says of
// them is what was read.
func readAll(t testing.TB, name string, o Options) (plimsoll.Image, *taker) {
	t.Helper()
	k := &taker{parallel: 2}
	facts, err := open(t, name, o).Read(t.Context(), k.reader())
	if err != nil {
		t.Fatalf("reading %q: %v", name, err)
	}
	for i, l := range facts.Layers {
		if l.Index != i {
			t.Errorf("layer %d has the index %d", i, l.Index)
		}
		if !slices.Contains(k.read, l.DiffID) {
			t.Errorf("layer %d (%s) was not read", i, l.DiffID)
		}
	}
	return facts, k
}

// factsOf tells what an image says of itself; no layer is read.
func factsOf(t testing.TB, name string, o Options) plimsoll.Image {
	t.Helper()
	facts, err := open(t, name, o).Read(t.Context(), Reader{Have: func(plimsoll.Digest) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// openAndRead gives the first error of opening and reading.
func openAndRead(ctx context.Context, name string, o Options) (plimsoll.Image, error) {
	images, err := Open(ctx, name, o)
	if err != nil {
		return plimsoll.Image{}, err
	}
	var facts plimsoll.Image
	for _, img := range images {
		if facts, err = img.Read(ctx, (&taker{parallel: 2}).reader()); err != nil {
			return facts, err
		}
	}
	return facts, nil
}

// file is a member of a tar archive.
type file struct {
	name string
	typ  byte // 0: a regular file
	link string
	body []byte
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		typ := f.typ
		if typ == 0 {
			typ = tar.TypeReg
		}
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: typ, Linkname: f.link, Size: int64(len(f.body)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func as(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// made is an image made for a test.
type made struct {
	config   []byte
	manifest []byte
	plain    [][]byte // layers as tar streams
	stored   [][]byte // and as stored
	platform plimsoll.Platform
}

type object = map[string]any

// describe is a descriptor of content.
func describe(mediaType string, content []byte) object {
	return object{"mediaType": mediaType, "digest": plimsoll.SHA256(content), "size": len(content)}
}

// makeImage makes an image of n layers for a platform, stored by turns as
// gzip, zstd and plain tar. change may spoil the manifest before it is written.
func makeImage(t testing.TB, platform string, n int, change ...func(config, manifest object)) *made {
	t.Helper()
	p, err := parsePlatform(platform)
	if err != nil {
		t.Fatal(err)
	}
	m := &made{platform: p}
	var diffIDs []plimsoll.Digest
	var history, layers []object
	for i := range n {
		plain := tarOf(t, file{name: "etc/", typ: tar.TypeDir}, file{name: fmt.Sprintf("etc/layer%d", i), body: fmt.Appendf(nil, "layer %d of %s\n", i, platform)})
		stored, mediaType := plain, "application/vnd.oci.image.layer.v1.tar"
		switch i % 3 {
		case 0:
			stored, mediaType = gzipped(t, plain), mediaType+"+gzip"
		case 1:
			stored, mediaType = zstded(t, plain), mediaType+"+zstd"
		}
		m.plain, m.stored = append(m.plain, plain), append(m.stored, stored)
		diffIDs = append(diffIDs, plimsoll.SHA256(plain))
		history = append(history, object{"created_by": "ENV empty=1", "empty_layer": true}, object{"created_by": fmt.Sprintf("RUN step %d", i), "comment": "made"})
		layers = append(layers, describe(mediaType, stored))
	}
	config := object{
		"created": "2026-11-23T17:26:00.5Z", "os": p.OS, "architecture": p.Architecture, "variant": p.Variant,
		"config":  object{"Labels": object{"maker": "test"}},
		"rootfs":  object{"type": "layers", "diff_ids": diffIDs},
		"history": history,
	}
	manifest := object{"schemaVersion": 2, "mediaType": ociManifest, "layers": layers}
	for _, f := range change {
		f(config, manifest)
	}
	m.config = as(t, config)
	if _, set := manifest["config"]; !set {
		manifest["config"] = describe(ociConfig, m.config)
	}
	m.manifest = as(t, manifest)
	return m
}

func (m *made) digest() plimsoll.Digest { return plimsoll.SHA256(m.manifest) }
func (m *made) id() plimsoll.Digest     { return plimsoll.SHA256(m.config) }

// blobs by digest.
func (m *made) blobs() map[plimsoll.Digest][]byte {
	blobs := map[plimsoll.Digest][]byte{m.digest(): m.manifest, m.id(): m.config}
	for _, b := range m.stored {
		blobs[plimsoll.SHA256(b)] = b
	}
	return blobs
}

// entry is the image's descriptor in an index.
func (m *made) entry(named string) object {
	d := describe(ociManifest, m.manifest)
	d["platform"] = m.platform
	if named != "" {
		d["annotations"] = object{"org.opencontainers.image.ref.name": named}
	}
	return d
}

func indexOf(t testing.TB, entries ...object) []byte {
	return as(t, object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries})
}

// layoutFiles are the members of an OCI archive; blobs come first, in the
// order of their digests, as Docker writes them.
func layoutFiles(index []byte, images ...*made) []file {
	var files []file
	blobs := map[plimsoll.Digest][]byte{}
	for _, m := range images {
		maps.Copy(blobs, m.blobs())
	}
	for _, d := range slices.Sorted(maps.Keys(blobs)) {
		files = append(files, file{name: "blobs/sha256/" + d.Hex(), body: blobs[d]})
	}
	return append(files, file{name: "index.json", body: index}, file{name: "oci-layout", body: []byte(`{"imageLayoutVersion":"1.0.0"}`)})
}

// dockerFiles are the members of what docker save wrote before version 25.
func dockerFiles(t testing.TB, m *made, tags ...string) []file {
	var files []file
	var layers []string
	for i, plain := range m.plain {
		name := fmt.Sprintf("%064x/layer.tar", i)
		files = append(files, file{name: fmt.Sprintf("%064x/", i), typ: tar.TypeDir}, file{name: fmt.Sprintf("%064x/VERSION", i), body: []byte("1.0")},
			file{name: fmt.Sprintf("%064x/json", i), body: []byte("{}")}, file{name: name, body: plain})
		layers = append(layers, name)
	}
	config := m.id().Hex() + ".json"
	return append(files, file{name: config, body: m.config},
		file{name: "manifest.json", body: as(t, []object{{"Config": config, "RepoTags": tags, "Layers": layers}})})
}

// replace changes the body of a member.
func replace(t testing.TB, files []file, name string, body []byte) []file {
	t.Helper()
	files = slices.Clone(files)
	for i, f := range files {
		if f.name == name {
			files[i].body = body
			return files
		}
	}
	t.Fatalf("no member %s", name)
	return nil
}

// without drops a member.
func without(files []file, name string) []file {
	return slices.DeleteFunc(slices.Clone(files), func(f file) bool { return f.name == name })
}

// inFile writes b to a new file.
func inFile(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inDir writes files to a new directory.
func inDir(t testing.TB, files []file) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// wantError fails unless err has all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !bytes.Contains([]byte(err.Error()), []byte(w)) {
			t.Errorf("error %q\nlacks %q", err, w)
		}
	}
}

// wantAltered fails unless err says which layer was altered.
func wantAltered(t testing.TB, err error, want, got plimsoll.Digest, words ...string) {
	t.Helper()
	wantError(t, err, words...)
	var altered *tarstream.DigestError
	if !errors.As(err, &altered) {
		t.Fatalf("error %q is no DigestError", err)
	}
	if altered.Want != want || altered.Got != got {
		t.Errorf("error %q\nwant %s\n got %s", err, want, got)
	}
}
