package scan_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/cache"
	"github.com/plimsoll/plimsoll/internal/format"
	"github.com/plimsoll/plimsoll/internal/format/cyclonedx"
	"github.com/plimsoll/plimsoll/internal/format/spdx"
	"github.com/plimsoll/plimsoll/internal/report"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// npmLayer is a layer with one npm package.
func npmLayer(t *testing.T, name, version string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := fmt.Sprintf(`{"name":%q,"version":%q}`, name, version)
	if err := w.WriteHeader(&tar.Header{Name: "srv/node_modules/" + name + "/package.json", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// counted is a registry in this process that counts what is fetched.
type counted struct {
	host string
	mu   sync.Mutex
	got  []string // digests of blobs
}

func serve(t *testing.T) *counted {
	t.Helper()
	c := &counted{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok && r.Method == http.MethodGet {
			c.mu.Lock()
			c.got = append(c.got, digest)
			c.mu.Unlock()
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c.host = strings.TrimPrefix(s.URL, "http://")
	return c
}

func (c *counted) push(t *testing.T, repo string, layers ...v1.Layer) string {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(c.host+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return "registry:" + ref.Name()
}

// fetched is how often each layer was fetched since the last call.
func (c *counted) fetched(t *testing.T, layers ...v1.Layer) (times []int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, g := range c.got {
			if g == digest.String() {
				n++
			}
		}
		times = append(times, n)
	}
	c.got = nil
	return times
}

// Of an image on a known base only the new layer is read, of a known image
// none, and a layer that stands in an image twice once.
func TestOnlyNewLayersAreRead(t *testing.T) {
	r := serve(t)
	store, err := cache.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	a, b, top := npmLayer(t, "a", "1.0.0"), npmLayer(t, "b", "1.0.0"), npmLayer(t, "top", "1.0.0")
	scan := func(image string) *plimsoll.BOM {
		s := newScanner() // as another process would
		s.Cache = store
		return bomOf(t, s, image)
	}
	base := r.push(t, "base:1", a, b)
	r.fetched(t)
	scan(base)
	if got := r.fetched(t, a, b, top); !slices.Equal(got, []int{1, 1, 0}) {
		t.Errorf("first scan: layers fetched %v", got)
	}
	scan(base)
	if got := r.fetched(t, a, b, top); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("second scan: layers fetched %v", got)
	}
	app := scan(r.push(t, "app:1", a, b, top, b))
	if got := r.fetched(t, a, b, top); !slices.Equal(got, []int{0, 0, 1}) {
		t.Errorf("new layer on a known base: layers fetched %v", got)
	}
	if len(app.Components) != 3 {
		t.Errorf("components %+v", app.Components)
	}
	if got := scan(r.push(t, "twice:1", npmLayer(t, "c", "1.0.0"), npmLayer(t, "c", "1.0.0"))); len(got.Components) != 1 || got.Components[0].Layer != 0 {
		t.Errorf("a layer twice: %+v", got.Components)
	}
}

// The documents of real images validate, count what the table counts, and come
// back as they were.
func TestDocumentsOfRealImages(t *testing.T) {
	for _, name := range realImages {
		t.Run(name, func(t *testing.T) {
			b := bomOf(t, newScanner(), "oci:"+strings.TrimSuffix(testenv.Image(t, name), ".tar")+".oci")
			n := len(b.Components)
			var table bytes.Buffer
			if err := report.BOMTable(&table, b, false); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("\n%d components in %d layers.\n", n, len(b.Image.Layers)); !strings.Contains(table.String(), want) {
				t.Errorf("the table does not say %q:\n%s", want, table.String()[max(0, table.Len()-500):])
			}
			rows := 0
			for line := range strings.Lines(table.String()) {
				if fields := strings.Fields(line); len(fields) > 2 && slices.Contains([]string{"deb", "npm", "pypi"}, fields[2]) {
					rows++
				}
			}
			if rows != n {
				t.Errorf("the table has %d rows for %d components", rows, n)
			}
			check := func(schema string, write func(io.Writer, *plimsoll.BOM, format.Options) error, read func(io.Reader) (*plimsoll.BOM, error), count func(map[string]any) int) {
				var out bytes.Buffer
				if err := write(&out, b, format.Options{Version: "test", AllLayers: true}); err != nil {
					t.Fatal(err)
				}
				var doc map[string]any
				if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
					t.Fatal(err)
				}
				if err := testenv.Schema(t, schema).Validate(doc); err != nil {
					t.Errorf("%s: %v", schema, err)
				}
				if got := count(doc); got != n+len(b.History) {
					t.Errorf("%s: %d components, want %d and %d of the history", schema, got, n, len(b.History))
				}
				back, err := read(&out)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(b.Components, back.Components); diff != "" {
					t.Errorf("%s: components that come back (-written +read):\n%s", schema, diff)
				}
			}
			check("cyclonedx-1.6", cyclonedx.Encode, cyclonedx.Decode, func(doc map[string]any) int {
				n := 0
				for _, c := range doc["components"].([]any) {
					if _, ok := c.(map[string]any)["purl"]; ok {
						n++
					}
				}
				return n
			})
			check("spdx-2.3", spdx.Encode, spdx.Decode, func(doc map[string]any) int {
				n := 0
				for _, p := range doc["packages"].([]any) {
					for _, ref := range asList(p.(map[string]any)["externalRefs"]) {
						if r := ref.(map[string]any); r["referenceType"] == "purl" && !strings.HasPrefix(r["referenceLocator"].(string), "pkg:oci/") {
							n++
						}
					}
				}
				return n
			})
		})
	}
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}
