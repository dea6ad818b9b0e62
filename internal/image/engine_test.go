//go:build linux

package image

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// dockerAt runs docker commands against the engine at a socket.
func dockerAt(t *testing.T, socket string) func(args ...string) {
	return func(args ...string) {
		t.Helper()
		testenv.Run(t, "docker", append([]string{"--host", "unix://" + socket}, args...)...)
	}
}

// spy stands before an engine's socket, passes everything on and notes what
// was asked for.
type spy struct {
	socket string
	proxy  *httputil.ReverseProxy
	mu     sync.Mutex
	asked  []string
}

func newSpy(t *testing.T, engine string, change func(*http.Response) error) *spy {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", engine)
	}}
	proxy.ModifyResponse = change
	proxy.FlushInterval = -1
	s := &spy{proxy: proxy}
	s.socket = serveSocket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	return s
}

// saves counts the save streams that were asked for since the last call.
func (s *spy) saves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, path := range s.asked {
		if strings.HasSuffix(path, "/images/get") {
			n++
		}
	}
	s.asked = nil
	return n
}

// wantKnown reads an image whose layers are all known, and fails unless that
// gives what was streamed, reads no layer and asks for so many save streams.
func (s *spy) wantKnown(t *testing.T, img *Image, streamed plimsoll.Image, saves int) {
	t.Helper()
	s.saves()
	k := knows(diffIDs(streamed))
	got, err := img.Read(t.Context(), k.reader())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(streamed, got); diff != "" {
		t.Errorf("(-streamed +known):\n%s", diff)
	}
	if n := s.saves(); n != saves || len(k.read) != 0 {
		t.Errorf("saved %d times, want %d; read %v", n, saves, k.read)
	}
}

// serveSocket serves HTTP at a socket.
func serveSocket(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(testenv.ShortDir(t), "s.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

// knows is a taker that has the reports of these layers.
func knows(diffIDs []plimsoll.Digest) *taker {
	k := &taker{known: map[plimsoll.Digest]bool{}, parallel: 2}
	for _, d := range diffIDs {
		k.known[d] = true
	}
	return k
}

// multiPlatform makes an archive with the image "multi" for two platforms.
func multiPlatform(t *testing.T) string {
	t.Helper()
	amd64, arm64 := makeImage(t, "linux/amd64", 3), makeImage(t, "linux/arm64", 3)
	inner := indexOf(t, amd64.entry(""), arm64.entry(""))
	entry := describe(ociIndex, inner)
	entry["annotations"] = object{"io.containerd.image.name": "docker.io/library/multi:latest"}
	files := layoutFiles(indexOf(t, entry), amd64, arm64)
	return inFile(t, tarOf(t, append(files, file{name: "blobs/sha256/" + plimsoll.SHA256(inner).Hex(), body: inner})...))
}

// mustRead reads an image whole, and checks that each layer was read once.
func mustRead(t *testing.T, img *Image) plimsoll.Image {
	t.Helper()
	k := &taker{parallel: 2}
	facts, err := img.Read(t.Context(), k.reader())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(k.read)
	if diff := cmp.Diff(distinct(diffIDs(facts)), k.read); diff != "" {
		t.Errorf("layers read (-image +read):\n%s", diff)
	}
	return facts
}

func diffIDs(img plimsoll.Image) []plimsoll.Digest {
	var ids []plimsoll.Digest
	for _, l := range img.Layers {
		ids = append(ids, l.DiffID)
	}
	return ids
}

func distinct(ids []plimsoll.Digest) []plimsoll.Digest {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// essence leaves out what depends on who holds the image.
func essence(img plimsoll.Image) plimsoll.Image {
	img.Name, img.Source, img.Digest, img.Tags = "", "", "", nil
	img.Layers = slices.Clone(img.Layers)
	for i := range img.Layers {
		img.Layers[i].Digest, img.Layers[i].Size, img.Layers[i].MediaType = "", 0, ""
	}
	return img
}

// same fails the test unless both are the same image.
func same(t *testing.T, want, got plimsoll.Image) {
	t.Helper()
	if len(want.Layers) == 0 {
		t.Fatal("no layers to compare")
	}
	if diff := cmp.Diff(essence(want), essence(got)); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}

// impatient options give up soon.
func impatient() Options {
	o := Options{}.withDefaults()
	o.timing = timing{pause: time.Millisecond, asked: time.Second, header: 300 * time.Millisecond, stall: 300 * time.Millisecond}
	return o
}

// flipByte changes one byte of a file in place.
func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
