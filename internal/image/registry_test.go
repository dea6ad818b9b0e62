package image

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// quick makes a registry's patience testable.
var quick = timing{pause: 5 * time.Millisecond, asked: 2 * time.Second, header: 2 * time.Second, stall: 200 * time.Millisecond}

// registryServer is go-containerregistry's registry in this process, with a
// handler in front of it that may play tricks.
type registryServer struct {
	*httptest.Server
	host string
	next http.Handler

	mu    sync.Mutex
	trick func(w http.ResponseWriter, r *http.Request) bool // true: it answered
	asked []string                                          // method, path and range
}

func newRegistryServer(t testing.TB) *registryServer {
	t.Helper()
	s := &registryServer{next: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.host = strings.TrimPrefix(s.URL, "http://")
	return s
}

func (s *registryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	trick := s.trick
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	s.mu.Unlock()
	if trick != nil && trick(w, r) {
		return
	}
	s.next.ServeHTTP(w, r)
}

// requests made since the last call, whose path has the part.
func (s *registryServer) requests(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := slices.DeleteFunc(s.asked, func(r string) bool { return !strings.Contains(r, part) })
	s.asked = nil
	return asked
}

func (s *registryServer) play(trick func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trick = trick
}

// push puts images into the repository app, and what the tag names.
func (s *registryServer) push(t testing.TB, tag string, root []byte, mediaType string, images ...*made) {
	t.Helper()
	put := func(path, mediaType string, body []byte) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			text, _ := io.ReadAll(resp.Body)
			t.Fatalf("PUT %s: %s %s", path, resp.Status, text)
		}
	}
	for _, m := range images {
		for d, b := range m.blobs() {
			resp, err := http.Post(s.URL+"/v2/app/blobs/uploads/", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			location, err := url.Parse(resp.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			put(location.Path+"?digest="+string(d), "application/octet-stream", b)
		}
		put("/v2/app/manifests/"+string(m.digest()), ociManifest, m.manifest)
	}
	put("/v2/app/manifests/"+tag, mediaType, root)
	s.requests("")
}

// serve pushes one image as app:1 and gives its name.
func serve(t testing.TB, m *made) (*registryServer, string) {
	s := newRegistryServer(t)
	s.push(t, "1", m.manifest, ociManifest, m)
	return s, s.host + "/app:1"
}

func anonymous() Options {
	return Options{Keychain: authn.NewMultiKeychain(), timing: quick}
}

func TestRegistry(t *testing.T) {
	m := makeImage(t, "linux/amd64", 3)
	s, name := serve(t, m)
	for _, name := range []string{name, "registry:" + name, s.host + "/app@" + string(m.digest()), s.host + "/app:1@" + string(m.digest())} {
		facts, k := readAll(t, name, anonymous())
		if facts.Digest != m.digest() || facts.ID != m.id() || facts.Source != "registry" || len(k.read) != 3 {
			t.Errorf("%s: %+v, %d layers read", name, facts, len(k.read))
		}
	}
	s.requests("")
	k := &taker{parallel: 3}
	ready := make(chan struct{}, 3)
	k.during = func() { // all three layers are read at one time, or this test does not end
		ready <- struct{}{}
		for len(ready) < 3 {
			time.Sleep(time.Millisecond)
		}
	}
	img := open(t, name, anonymous())
	if _, err := img.Read(t.Context(), k.reader()); err != nil {
		t.Fatal(err)
	}
	if k.most != 3 {
		t.Errorf("%d layers at one time, want 3", k.most)
	}
	s.requests("")
	known := &taker{known: map[plimsoll.Digest]bool{plimsoll.SHA256(m.plain[0]): true, plimsoll.SHA256(m.plain[2]): true}}
	if _, err := img.Read(t.Context(), known.reader()); err != nil {
		t.Fatal(err)
	}
	if got := s.requests("/blobs/"); len(got) != 1 || !strings.Contains(got[0], string(plimsoll.SHA256(m.stored[1]))) {
		t.Errorf("fetched %q, want layer 1 only", got)
	}
}

// A real registry, filled by a real client.
func TestRealRegistry(t *testing.T) {
	t.Parallel()
	archive := testenv.Image(t, "deb-slim")
	testenv.Need(t, "skopeo")
	host := testenv.Registry(t)
	layout := strings.TrimSuffix(archive, ".tar") + ".oci"
	testenv.Run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+layout, "docker://"+host+"/debian/slim:oci")
	testenv.Run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "--format", "v2s2", "docker-archive:"+archive, "docker://"+host+"/debian/slim:docker")
	want := factsOf(t, layout, Options{})
	o := Options{Keychain: authn.NewMultiKeychain()} // with all patience
	for _, tag := range []string{"oci", "docker"} {
		facts, _ := readAll(t, host+"/debian/slim:"+tag, o)
		if len(facts.Layers) != len(want.Layers) {
			t.Fatalf("%s: %d layers, want %d", tag, len(facts.Layers), len(want.Layers))
		}
		for i, l := range facts.Layers {
			if l.DiffID != want.Layers[i].DiffID || l.Step != want.Layers[i].Step {
				t.Errorf("%s: layer %d is %+v, want %+v", tag, i, l, want.Layers[i])
			}
		}
		if tag == "oci" && facts.Digest != want.Digest {
			t.Errorf("digest %s, want %s", facts.Digest, want.Digest)
		}
	}
	_, err := openAndRead(t.Context(), host+"/debian/slim:none", o)
	wantError(t, err, "404", "MANIFEST_UNKNOWN")
	// The real one honours ranges.
	r, err := newRegistry(mustRepo(t, host+"/debian/slim"), o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	d := descriptor{Digest: want.Layers[0].Digest, Size: want.Layers[0].Size}
	body, start, err := r.places[0].open(t.Context(), d, d.Size-10)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	rest, err := io.ReadAll(body)
	if err != nil || start != d.Size-10 || len(rest) != 10 {
		t.Errorf("a range from %d: got %d bytes from %d, %v", d.Size-10, len(rest), start, err)
	}
}

func TestRefusals(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	s, name := serve(t, m)
	answer := func(code int, header, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" && code != http.StatusTeapot {
				return false
			}
			if key, value, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(key, value)
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	for what, test := range map[string]struct {
		trick func(http.ResponseWriter, *http.Request) bool
		want  []string
		hint  string
		tries int
	}{
		"401":                      {answer(401, "", `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`), []string{"401", "authentication required"}, "docker login " + s.host, 1},
		"403":                      {answer(403, "", `{"errors":[{"code":"DENIED","message":"not for you"}]}`), []string{"403", "not for you"}, "docker login " + s.host, 1},
		"404":                      {answer(404, "", `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"what?"}]}`), []string{"404", "MANIFEST_UNKNOWN"}, "check the name", 1},
		"429":                      {answer(429, "", ""), []string{"429"}, "limits how often", attempts},
		"429, come back tomorrow":  {answer(429, "Retry-After: 86400", ""), []string{"429", "24h"}, "limits how often", 1},
		"429, come back at a date": {answer(429, "Retry-After: "+time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), ""), []string{"429"}, "limits how often", 1},
		"500":                      {answer(500, "", "<html>"+strings.Repeat("x", 1<<20)), []string{"500"}, "try again later", attempts},
		"503, absurd Retry-After":  {answer(503, "Retry-After: 99999999999999999999", ""), []string{"503"}, "try again later", attempts},
		"a page":                   {answer(200, "", "<html>"), []string{"parsing manifest"}, "", 1},
		"an escape sequence":       {answer(404, "", `{"errors":[{"code":"X","message":"\u001b[2J"}]}`), []string{`\x1b[2J`}, "", 1},
		"no end":                   {answer(200, "", strings.Repeat(" ", jsonLimit+1)), []string{"4 MiB"}, "", 1},
		"schema 1 by its type":     {answer(200, "Content-Type: application/vnd.docker.distribution.manifest.v1+prettyjws", "{}"), []string{"schema 1"}, "rebuild", 1},
		"schema 1 by its content":  {answer(200, "", `{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:0"}],"history":[]}`), []string{"schema 1"}, "rebuild", 1},
		"a digest that lies":       {answer(200, "Docker-Content-Digest: "+string(m.digest()), string(m.config)), []string{"altered", string(m.digest()), string(m.id())}, "", 1},
	} {
		t.Run(what, func(t *testing.T) {
			s.requests("")
			s.play(test.trick)
			_, err := openAndRead(t.Context(), "registry:"+name, anonymous())
			wantError(t, err, test.want...)
			if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
				t.Errorf("the error passes on what the registry said: %q", err)
			}
			if hint := plimsoll.HintOf(err); !strings.Contains(hint, test.hint) {
				t.Errorf("hint %q lacks %q", hint, test.hint)
			}
			if got := len(s.requests("/manifests/1")); got != test.tries {
				t.Errorf("asked %d times, want %d", got, test.tries)
			}
		})
	}
	t.Run("digest of the reference", func(t *testing.T) {
		s.play(answer(200, "", string(m.config)))
		_, err := openAndRead(t.Context(), "registry:"+s.host+"/app@"+string(m.digest()), anonymous())
		wantError(t, err, "altered", string(m.digest()))
	})
}

// What passes is waited for, as long as the registry asks for.
func TestPatience(t *testing.T) {
	m := makeImage(t, "linux/amd64", 3)
	s, name := serve(t, m)
	var times []time.Time
	var said []string
	var mu sync.Mutex
	s.play(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(r.URL.Path, "/manifests/1") || len(times) >= 4 {
			return false
		}
		times = append(times, time.Now())
		switch len(times) {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		default:
			return false
		}
		return true
	})
	o := anonymous()
	o.Progress = func(line string) { mu.Lock(); said = append(said, line); mu.Unlock() }
	readAll(t, name, o)
	if len(times) != 4 {
		t.Fatalf("asked %d times, want 4", len(times))
	}
	if waited := times[1].Sub(times[0]); waited < time.Second || waited > 2*time.Second {
		t.Errorf("waited %s, although the registry asked for 1 s", waited)
	}
	if waited := times[2].Sub(times[1]); waited > time.Second/2 {
		t.Errorf("waited %s for the second retry", waited)
	}
	// net/http itself repeats a request on a connection that was used before.
	if len(said) < 2 || !strings.Contains(said[0], "429") || !strings.Contains(said[1], "500") {
		t.Errorf("progress said %q", said)
	}
}

// bigImage has one layer large enough to break in its middle.
func bigImage(t testing.TB) *made {
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(i * i >> 7)
	}
	m := makeImage(t, "linux/amd64", 1)
	layer := tarOf(t, file{name: "big", body: body})
	m.plain, m.stored = [][]byte{layer}, [][]byte{layer}
	m.config = as(t, object{"os": "linux", "architecture": "amd64", "rootfs": object{"diff_ids": []plimsoll.Digest{plimsoll.SHA256(layer)}}})
	m.manifest = as(t, object{"schemaVersion": 2, "config": describe(ociConfig, m.config), "layers": []object{describe("application/vnd.oci.image.layer.v1.tar", layer)}})
	return m
}

// Connections that break in the middle of a blob are taken up where they
// stopped, if the registry can do that, and else from the beginning.
func TestBrokenConnection(t *testing.T) {
	m := bigImage(t)
	layer := m.stored[0]
	digest := string(plimsoll.SHA256(layer))
	s, name := serve(t, m)
	const part = 1 << 20

	// sendSome sends at most part bytes of the layer from an offset on.
	sendSome := func(w http.ResponseWriter, offset int) {
		_, _ = w.Write(layer[offset:min(offset+part, len(layer))])
		if offset+part < len(layer) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	offset := func(r *http.Request) (n int) {
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &n)
		return n
	}
	sent := 0
	for what, test := range map[string]struct {
		answer   func(w http.ResponseWriter, r *http.Request)
		requests int
	}{
		"with ranges": {func(w http.ResponseWriter, r *http.Request) {
			from := offset(r)
			w.Header().Set("Content-Length", fmt.Sprint(len(layer)-from))
			if from > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layer)-1, len(layer)))
				w.WriteHeader(http.StatusPartialContent)
			}
			sendSome(w, from)
		}, len(layer)/part + 1},
		"without": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
			if sent++; sent == 1 {
				sendSome(w, 0)
			}
			_, _ = w.Write(layer)
		}, 2},
		"with another range than asked for": {func(w http.ResponseWriter, r *http.Request) {
			if sent++; sent == 1 {
				sendSome(w, 0)
			}
			if offset(r) > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 5, len(layer)-1, len(layer)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(layer[5:])
				return
			}
			_, _ = w.Write(layer)
		}, 3},
		"with ranges refused": {func(w http.ResponseWriter, r *http.Request) {
			if sent++; sent == 1 {
				sendSome(w, 0)
			}
			if offset(r) > 0 {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			_, _ = w.Write(layer)
		}, 3},
		"stalled": {func(w http.ResponseWriter, r *http.Request) {
			from := offset(r)
			if from > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layer)-1, len(layer)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(layer[from:])
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
			_, _ = w.Write(layer[:part])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 2},
	} {
		t.Run(what, func(t *testing.T) {
			sent = 0
			s.requests("")
			s.play(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, digest) {
					return false
				}
				test.answer(w, r)
				return true
			})
			readAll(t, name, anonymous())
			if got := s.requests(digest); len(got) != test.requests {
				t.Errorf("%d requests, want %d: %q", len(got), test.requests, got)
			}
		})
	}

	t.Run("again and again", func(t *testing.T) {
		s.requests("")
		s.play(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, digest) {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
			_, _ = w.Write(layer[:1000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		_, err := openAndRead(t.Context(), name, anonymous())
		wantError(t, err, "layer 0", "broke", "of "+fmt.Sprint(len(layer))+" bytes")
		if got := len(s.requests(digest)); got != resumes+1 {
			t.Errorf("%d requests, want %d", got, resumes+1)
		}
	})
	t.Run("a trickle", func(t *testing.T) {
		s.requests("")
		s.play(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, digest) || r.Header.Get("Range") != "" {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
			for i := 0; r.Context().Err() == nil && i < len(layer); i++ {
				_, _ = w.Write(layer[i : i+1])
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
			return true
		})
		// go-containerregistry's registry does not know open ranges, so every
		// second request is for the whole again.
		start := time.Now()
		_, err := openAndRead(t.Context(), name, anonymous())
		wantError(t, err, "layer 0", "next to none")
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("gave up after %s", took)
		}
	})
	t.Run("altered", func(t *testing.T) {
		evil := bytes.Clone(layer)
		evil[2<<20] ^= 1
		s.play(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, digest) {
				_, _ = w.Write(evil)
				return true
			}
			return false
		})
		_, err := openAndRead(t.Context(), name, anonymous())
		wantAltered(t, err, plimsoll.SHA256(layer), plimsoll.SHA256(evil), "layer 0")
	})
	t.Run("another length", func(t *testing.T) {
		s.play(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, digest) {
				_, _ = w.Write(layer[:1000])
				return true
			}
			return false
		})
		_, err := openAndRead(t.Context(), name, anonymous())
		wantError(t, err, "layer 0", "1000 bytes")
	})
	t.Run("gone", func(t *testing.T) {
		s.play(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, digest) {
				http.NotFound(w, r)
				return true
			}
			return false
		})
		_, err := openAndRead(t.Context(), name, anonymous())
		wantError(t, err, "layer 0", "404")
	})
	t.Run("no answer", func(t *testing.T) {
		s.play(func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		})
		o := anonymous()
		o.timing.header = 50 * time.Millisecond
		start := time.Now()
		_, err := openAndRead(t.Context(), "registry:"+name, o)
		wantError(t, err, "timeout")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("gave up after %s", took)
		}
	})
}

// Where a layer is elsewhere, that is said and not followed.
func TestForeignLayer(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	m := makeImage(t, "windows/amd64", 1, func(_, manifest object) {
		l := manifest["layers"].([]object)[0]
		l["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		l["urls"] = []string{elsewhere.URL + "/layer"}
	})
	// A registry that holds it all the same is fine.
	s, name := serve(t, m)
	readAll(t, name, anonymous())
	s.play(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, string(plimsoll.SHA256(m.stored[0]))) {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	_, err := openAndRead(t.Context(), name, anonymous())
	wantError(t, err, "layer 0", "404", elsewhere.URL, "never followed")
	if asked {
		t.Error("the URL was followed")
	}
}

func TestPlatforms(t *testing.T) {
	amd := makeImage(t, "linux/amd64", 1)
	arm := makeImage(t, "linux/arm64/v8", 1)
	arm6, arm7 := makeImage(t, "linux/arm/v6", 1), makeImage(t, "linux/arm/v7", 1)
	win := makeImage(t, "windows/amd64", 1)
	provenance := &made{config: []byte("{}"), manifest: []byte(`{"config":{},"layers":[]}`)}
	attestation := describe(ociManifest, provenance.manifest)
	attestation["platform"] = object{"os": "unknown", "architecture": "unknown"}
	all := []*made{amd, arm, arm6, arm7, win}
	var entries []object
	for _, m := range all {
		entries = append(entries, m.entry(""))
	}
	index := indexOf(t, append(entries, attestation)...)
	s := newRegistryServer(t)
	s.push(t, "1", index, ociIndex, append(all, provenance)...)
	s.push(t, "single", win.manifest, ociManifest, win)
	nested := &made{config: []byte("{}"), manifest: index}
	s.push(t, "nested", indexOf(t, describe(ociIndex, index)), ociIndex, nested)
	layout := "oci:" + inDir(t, layoutFiles(index, all...))
	archive := "archive:" + inFile(t, tarOf(t, layoutFiles(index, all...)...))

	for _, name := range []string{s.host + "/app:1", s.host + "/app:nested", layout, archive} {
		for platform, want := range map[string]*made{
			"linux/amd64": amd, "linux/x86_64": amd, "linux/arm64": arm, "linux/arm64/v8": arm, "linux/arm64/v9": arm, "linux/arm/v7": arm7,
			"linux/arm": arm7, "linux/arm/v6": arm6, "linux/armhf": arm7, "windows/amd64": win,
		} {
			o := anonymous()
			o.Platform = platform
			if facts, _ := readAll(t, name, o); facts.Digest != want.digest() || facts.Platform != want.platform {
				t.Errorf("%s on %s is %s (%s), want %s", platform, name, facts.Platform, facts.Digest, want.platform)
			}
		}
		for _, platform := range []string{"linux/s390x", "linux/arm/v5", "freebsd/amd64"} {
			o := anonymous()
			o.Platform = platform
			_, err := openAndRead(t.Context(), name, o)
			wantError(t, err, "no image for "+platform, "linux/arm64/v8", "windows/amd64")
			if !strings.Contains(plimsoll.HintOf(err), "--platform") || strings.Contains(err.Error(), "unknown") {
				t.Errorf("error %q, hint %q", err, plimsoll.HintOf(err))
			}
		}
		o := anonymous()
		o.AllPlatforms = true
		images, err := Open(t.Context(), name, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(images) != len(all) {
			t.Fatalf("%s: %d images, want %d", name, len(images), len(all))
		}
		for i, img := range images {
			facts, err := img.Read(t.Context(), (&taker{}).reader())
			if err != nil || facts.Digest != all[i].digest() || img.Platform != all[i].platform {
				t.Errorf("image %d of %s: %s %s %v", i, name, img.Platform, facts.Digest, err)
			}
		}
	}
	t.Run("stream", func(t *testing.T) {
		content := tarOf(t, layoutFiles(index, all...)...)
		facts, _ := openAndRead(t.Context(), "-", Options{Stdin: bytes.NewReader(content), Platform: "linux/arm64"})
		if facts.Digest != arm.digest() {
			t.Errorf("got %s", facts.Digest)
		}
		_, err := openAndRead(t.Context(), "-", Options{Stdin: bytes.NewReader(content), AllPlatforms: true})
		wantError(t, err, "several platforms")
	})
	t.Run("the only one there is", func(t *testing.T) {
		if facts, _ := readAll(t, s.host+"/app:single", anonymous()); facts.Digest != win.digest() {
			t.Errorf("got %s", facts.Digest)
		}
		o := anonymous()
		o.Platform = "linux/amd64"
		_, err := openAndRead(t.Context(), s.host+"/app:single", o)
		wantError(t, err, "no image for linux/amd64, only for windows/amd64")
	})
	t.Run("docker archive", func(t *testing.T) {
		ways(t, tarOf(t, dockerFiles(t, arm)...), func(t *testing.T, name string, o Options) {
			o.Platform = "linux/amd64"
			_, err := openAndRead(t.Context(), name, o)
			wantError(t, err, "no image for linux/amd64")
		})
	})
	t.Run("what an engine saves", func(t *testing.T) {
		// The whole index, but the content of one platform only.
		files := layoutFiles(index, win)
		ways(t, tarOf(t, files...), func(t *testing.T, name string, o Options) {
			if facts, _ := readAll(t, name, o); facts.Digest != win.digest() {
				t.Errorf("got %s", facts.Digest)
			}
		})
		if facts, _ := readAll(t, "oci:"+inDir(t, files), Options{}); facts.Digest != win.digest() {
			t.Errorf("got %s", facts.Digest)
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		for _, platform := range []string{"linux", "a/b/c/d", "/amd64", "linux/"} {
			_, err := Open(t.Context(), s.host+"/app:1", Options{Platform: platform})
			wantError(t, err, "platform", platform)
		}
	})
}

func TestHostileIndex(t *testing.T) {
	s := newRegistryServer(t)
	m := makeImage(t, "linux/amd64", 1)
	s.push(t, "1", m.manifest, ociManifest, m)
	deep := m.manifest
	for range nesting + 2 {
		mediaType := ociIndex
		if bytes.Equal(deep, m.manifest) {
			mediaType = ociManifest
		}
		next := indexOf(t, describe(mediaType, deep))
		s.push(t, string(plimsoll.SHA256(next)), next, ociIndex)
		deep = next
	}
	s.push(t, "deep", deep, ociIndex)
	_, err := openAndRead(t.Context(), s.host+"/app:deep", anonymous())
	wantError(t, err, "within one another")

	var entries []object
	for i := range 3000 {
		entries = append(entries, describe(ociManifest, fmt.Append(nil, i)))
	}
	many := indexOf(t, entries...)
	asked := 0
	s.play(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/many") {
			_, _ = w.Write(many)
			return true
		}
		if strings.Contains(r.URL.Path, "/manifests/sha256:") {
			i := slices.IndexFunc(entries, func(e object) bool { return strings.HasSuffix(r.URL.Path, string(e["digest"].(plimsoll.Digest))) })
			if i >= 0 {
				asked++
				_, _ = fmt.Fprint(w, i)
				return true
			}
		}
		return false
	})
	_, err = openAndRead(t.Context(), s.host+"/app:many", anonymous())
	if err == nil || asked > fetchLimit {
		t.Errorf("%v after %d requests", err, asked)
	}
}

func TestMirrors(t *testing.T) {
	m := makeImage(t, "linux/amd64", 2)
	origin, name := serve(t, m)
	mirror := newRegistryServer(t)
	mirror.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "/v2/proxy/app/", "/v2/app/", 1)
		origin.next.ServeHTTP(w, r)
	})
	with := func(address string) Options {
		o := anonymous()
		o.Mirrors = map[string]string{origin.host: address, "example.org": "http://127.0.0.1:1"}
		return o
	}
	t.Run("has it all", func(t *testing.T) {
		origin.requests("")
		facts, _ := readAll(t, name, with("http://"+mirror.host+"/proxy"))
		if facts.Digest != m.digest() {
			t.Errorf("got %s", facts.Digest)
		}
		if got := origin.requests(""); len(got) > 0 {
			t.Errorf("the registry itself was asked: %q", got)
		}
		if got := mirror.requests("/v2/proxy/app/"); len(got) != 4 {
			t.Errorf("the mirror was asked %q", got)
		}
	})
	t.Run("does not have it", func(t *testing.T) {
		mirror.play(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v2/" {
				http.NotFound(w, r)
			}
			return r.URL.Path != "/v2/"
		})
		readAll(t, name, with(mirror.host))
	})
	t.Run("lost a blob", func(t *testing.T) {
		mirror.play(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, string(plimsoll.SHA256(m.stored[1]))) {
				http.NotFound(w, r)
				return true
			}
			return false
		})
		readAll(t, name, with("http://"+mirror.host+"/proxy"))
	})
	t.Run("gives another image for a digest", func(t *testing.T) {
		mirror.play(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				_, _ = w.Write(m.config)
				return true
			}
			return false
		})
		readAll(t, origin.host+"/app@"+string(m.digest()), with("http://"+mirror.host+"/proxy"))
	})
	t.Run("is down", func(t *testing.T) {
		readAll(t, name, with("http://127.0.0.1:1"))
	})
	t.Run("nobody has it", func(t *testing.T) {
		mirror.play(nil)
		_, err := openAndRead(t.Context(), "registry:"+origin.host+"/app:2", with("http://"+mirror.host+"/proxy"))
		wantError(t, err, origin.host+"/v2/app/manifests/2: 404", "mirror", mirror.host+"/v2/proxy/app/manifests/2: 404")
	})
	t.Run("nonsense", func(t *testing.T) {
		_, err := openAndRead(t.Context(), "registry:"+name, with("ftp://x"))
		wantError(t, err, "mirror", "ftp")
	})
}

// The token and password dances, with credentials from Docker's configuration
// and from a credential helper.
func TestCredentials(t *testing.T) {
	m := makeImage(t, "linux/amd64", 2)
	s, name := serve(t, m)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("anna:secret"))
	bearer := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if r.Header.Get("Authorization") != basic || r.URL.Query().Get("scope") != "repository:app:pull" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			_, _ = io.WriteString(w, `{"token":"opensesame"}`)
			return true
		}
		if r.Header.Get("Authorization") == "Bearer opensesame" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	password := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == basic {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, ".docker"))
	t.Setenv("PATH", home+":"+os.Getenv("PATH"))
	helper := fmt.Sprintf("#!/bin/sh\nread host\n[ \"$host\" = %q ] && echo '{\"Username\":\"anna\",\"Secret\":\"secret\"}'\n", s.host)
	if err := os.WriteFile(home+"/docker-credential-plimsolltest", []byte(helper), 0o700); err != nil {
		t.Fatal(err)
	}
	configure := func(config object) {
		if err := os.MkdirAll(home+"/.docker", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(home+"/.docker/config.json", as(t, config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for what, config := range map[string]object{
		"file":   {"auths": object{s.host: object{"auth": base64.StdEncoding.EncodeToString([]byte("anna:secret"))}}},
		"helper": {"credHelpers": object{s.host: "plimsolltest"}},
	} {
		configure(config)
		for dance, trick := range map[string]func(http.ResponseWriter, *http.Request) bool{"bearer": bearer, "basic": password} {
			t.Run(dance+" with "+what, func(t *testing.T) {
				s.play(trick)
				readAll(t, name, Options{timing: quick})
			})
		}
	}
	for dance, trick := range map[string]func(http.ResponseWriter, *http.Request) bool{"bearer": bearer, "basic": password} {
		t.Run(dance+" without", func(t *testing.T) {
			configure(object{})
			s.play(trick)
			_, err := openAndRead(t.Context(), "registry:"+name, Options{timing: quick})
			wantError(t, err, "401")
			if hint := plimsoll.HintOf(err); !strings.Contains(hint, "docker login "+s.host) {
				t.Errorf("hint %q", hint)
			}
		})
		t.Run(dance+" with a broken helper", func(t *testing.T) {
			configure(object{"credHelpers": object{s.host: "plimsollnone"}})
			_, err := openAndRead(t.Context(), "registry:"+name, Options{timing: quick})
			wantError(t, err, "401", "no credentials", "docker-credential-plimsollnone")
		})
	}
	t.Run("not needed, with a broken helper", func(t *testing.T) {
		s.play(nil)
		readAll(t, name, Options{timing: quick})
	})
}

// Credentials stay with the registry when a blob lies elsewhere.
func TestRedirect(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	s, name := serve(t, m)
	layer := m.stored[0]
	var leaked string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = r.Header.Get("Authorization")
		if r.URL.Query().Get("signature") != "s3cret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write(layer)
	}))
	defer storage.Close()
	signature := "s3cret"
	s.play(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.HasSuffix(r.URL.Path, string(plimsoll.SHA256(layer))) {
			http.Redirect(w, r, strings.Replace(storage.URL, "127.0.0.1", "localhost", 1)+"/blob?signature="+signature, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	o := Options{Keychain: keychain{}, timing: quick}
	readAll(t, name, o)
	if leaked != "" {
		t.Errorf("the storage was told %q", leaked)
	}
	signature = "0ld"
	_, err := openAndRead(t.Context(), name, o)
	wantError(t, err, "403", "/blob")
	if strings.Contains(err.Error(), signature) {
		t.Errorf("the error tells the signature: %v", err)
	}
}

type keychain struct{}

func (keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "anna", Password: "secret"}, nil
}

func TestTLS(t *testing.T) {
	m := makeImage(t, "linux/amd64", 1)
	s, _ := serve(t, m)
	secure := httptest.NewTLSServer(s)
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	// Loopback addresses may also speak plain HTTP, so ask as a mirror that
	// has to be https.
	name := strings.TrimPrefix(secure.URL, "https://") + "/app:1"
	_, err := openAndRead(t.Context(), "registry:"+name, anonymous())
	wantError(t, err, "certificate")
	if hint := plimsoll.HintOf(err); !strings.Contains(hint, "--insecure") || !strings.Contains(hint, "SSL_CERT_FILE") {
		t.Errorf("hint %q", hint)
	}
	o := anonymous()
	o.Insecure = true
	readAll(t, name, o)
}

// Plain HTTP to anything but this machine needs --insecure, and so does being
// sent there.
func TestPlainHTTP(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		reached := false
		p := &patient{insecure: insecure, inner: roundTrip(func(r *http.Request) (*http.Response, error) {
			reached = true
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
		})}
		resp, err := (&http.Client{Transport: p}).Get("http://registry.example.org/v2/")
		if err == nil {
			resp.Body.Close()
		}
		if reached != insecure || errors.Is(err, errPlain) == insecure {
			t.Errorf("insecure %v: reached %v, %v", insecure, reached, err)
		}
		if !insecure && !strings.Contains(plimsoll.HintOf(explainNet(err)), "--insecure") {
			t.Errorf("hint %q", plimsoll.HintOf(explainNet(err)))
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPause(t *testing.T) {
	for try := 1; try < 40; try++ {
		got := pause(time.Second, try, 0)
		low := min(time.Second<<min(try-1, 10), longestPause)
		if got < low || got > low+low/4+1 {
			t.Errorf("pause before retry %d: %s, want %s and up to a quarter more", try, got, low)
		}
	}
	if got := pause(time.Second, 1, 40*time.Second); got < 40*time.Second || got > 51*time.Second {
		t.Errorf("asked for 40 s, waits %s", got)
	}
}

func mustRepo(t testing.TB, s string) name.Repository {
	t.Helper()
	repo, err := name.NewRepository(s)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}
