package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll"
)

// hashing takes layers in without looking into them, so that fuzzing spends
// its time in this package.
func hashing(opened *[]plimsoll.Digest) Reader {
	return Reader{
		Have: func(plimsoll.Digest) bool { return false },
		Layer: func(_ context.Context, l *Layer) (plimsoll.Digest, error) {
			h := sha256.New()
			if _, err := io.Copy(h, l.Stored); err != nil {
				return "", err
			}
			got := plimsoll.DigestOf(h.Sum(nil))
			*opened = append(*opened, got)
			return got, nil
		},
		Parallel: 1,
	}
}

// FuzzArchiveStream reads anything as an archive, as a stream and at random.
// Both must agree on what the image is, and no image has a layer that was not
// read.
func FuzzArchiveStream(f *testing.F) {
	m := makeImage(f, "linux/amd64", 1)
	plain := withPlainLayers(f, m)
	f.Add(tarOf(f, dockerFiles(f, plain, "app:1")...))
	f.Add(tarOf(f, layoutFiles(indexOf(f, plain.entry("app:1")), plain)...))
	f.Add(tarOf(f, layoutFiles(indexOf(f, m.entry("")), m)...))
	f.Add(gzipped(f, tarOf(f, dockerFiles(f, plain)...)))
	f.Add(zstded(f, tarOf(f, dockerFiles(f, plain)...)))
	f.Add(tarOf(f, file{name: "a/layer.tar", typ: '2', link: "../b/layer.tar"}, file{name: "b/layer.tar", typ: '1', link: "a/layer.tar"},
		file{name: "c.json", body: plain.config}, file{name: "manifest.json", body: []byte(`[{"Config":"c.json","Layers":["a/layer.tar"]}]`)}))
	path := inFile(f, nil)
	f.Fuzz(func(t *testing.T, archive []byte) {
		if err := os.WriteFile(path, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{}.withDefaults()
		o.Limits.Ratio = 20
		var read []plimsoll.Digest
		streamed, streamErr := readArchiveStream(t.Context(), bytes.NewReader(archive), "", o, hashing(&read))
		if streamErr == nil {
			for _, l := range streamed.Layers {
				if !slices.Contains(read, l.DiffID) {
					t.Errorf("layer %d (%s) was not read", l.Index, l.DiffID)
				}
			}
		}
		images, err := openArchive(t.Context(), path, "", o)
		if err != nil {
			if streamErr == nil {
				t.Errorf("the stream has an image, the file has not: %v", err)
			}
			return
		}
		read = nil
		facts, err := images[0].Read(t.Context(), hashing(&read))
		if err == nil && streamErr == nil && facts.ID != streamed.ID {
			t.Errorf("the stream has the image %s, the file %s", streamed.ID, facts.ID)
		}
	})
}

// withPlainLayers stores the layers as tar streams, so that hashing them gives
// their diff IDs.
func withPlainLayers(t testing.TB, m *made) *made {
	changed := *m
	changed.stored = m.plain
	var layers []object
	for _, l := range m.plain {
		layers = append(layers, describe("application/vnd.oci.image.layer.v1.tar", l))
	}
	changed.manifest = as(t, object{"schemaVersion": 2, "config": describe(ociConfig, m.config), "layers": layers})
	return &changed
}

// FuzzLayout opens any index, manifest and configuration. Their digests are
// put in where the one names the other, which fuzzing would never guess.
func FuzzLayout(f *testing.F) {
	m := makeImage(f, "linux/amd64", 2)
	manifest := strings.NewReplacer(string(m.id()), "CONFIG", string(describedSize(m.config)), "CONFIGSIZE").Replace(string(m.manifest))
	index := strings.NewReplacer(string(m.digest()), "MANIFEST", string(describedSize(m.manifest)), "MANIFESTSIZE").Replace(string(indexOf(f, m.entry("app:1"))))
	f.Add([]byte(index), []byte(manifest), m.config, "app:1", "linux/amd64")
	f.Add([]byte(index), []byte(index), m.config, "", "")
	f.Add([]byte(`{"manifests":[{"digest":"MANIFEST","size":MANIFESTSIZE}]}`), []byte(manifest), []byte(`{"rootfs":{"diff_ids":[]}}`), "", "linux/arm/v7")
	f.Add([]byte(index), []byte(`{"schemaVersion":1,"fsLayers":[]}`), m.config, "@MANIFEST", "")
	f.Fuzz(func(t *testing.T, index, manifest, config []byte, ref, platform string) {
		put := func(b []byte, name string, content []byte) []byte {
			b = bytes.ReplaceAll(b, []byte(name+"SIZE"), describedSize(content))
			return bytes.ReplaceAll(b, []byte(name), []byte(plimsoll.SHA256(content)))
		}
		manifest = put(manifest, "CONFIG", config)
		index = put(index, "MANIFEST", manifest)
		ref = strings.ReplaceAll(ref, "MANIFEST", string(plimsoll.SHA256(manifest)))
		blobs := map[plimsoll.Digest][]byte{plimsoll.SHA256(config): config, plimsoll.SHA256(manifest): manifest, plimsoll.SHA256(index): index}
		tr := &tree{
			fetch: func(_ context.Context, d descriptor) (*blob, error) {
				b, ok := blobs[d.Digest]
				if !ok {
					return nil, errAbsent
				}
				return inMemory(b), nil
			},
			has: func(d descriptor) bool { return blobs[d.Digest] != nil },
		}
		images, err := tr.indexed(t.Context(), index, ref, Options{Platform: platform})
		if err != nil {
			return
		}
		for _, m := range images {
			if len(m.layers) != len(m.facts.Layers) || m.facts.Digest != plimsoll.SHA256(manifest) || m.facts.ID != plimsoll.SHA256(config) {
				t.Errorf("%d layers, %d diff IDs, manifest %s, configuration %s", len(m.layers), len(m.facts.Layers), m.facts.Digest, m.facts.ID)
			}
			for i, l := range m.facts.Layers {
				if l.Index != i || l.DiffID == "" || l.Digest == "" || l.Size < 0 {
					t.Errorf("layer %d: %+v", i, l)
				}
			}
		}
	})
}

// describedSize is the length of content in digits.
func describedSize(content []byte) []byte { return fmt.Append(nil, len(content)) }
