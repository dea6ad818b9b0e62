//go:build linux

package image

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	imagetypes "github.com/moby/moby/api/types/image"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// TestDocker holds a real engine against the archive that its image came from.
func TestDocker(t *testing.T) {
	testenv.NeedRoot(t, "dockerd", "docker")
	archive := testenv.Image(t, "deb-slim")
	want := factsOf(t, "archive:"+archive, Options{})
	certs := t.TempDir()
	writeCertificates(t, certs)
	address := freeAddress(t)
	socket := testenv.Docker(t, "--host", "tcp://"+address, "--tlsverify", "--tlscacert", filepath.Join(certs, "ca.pem"),
		"--tlscert", filepath.Join(certs, "cert.pem"), "--tlskey", filepath.Join(certs, "key.pem"))
	docker := dockerAt(t, socket)
	docker("load", "--input", archive)
	spy := newSpy(t, socket, nil)
	t.Setenv("DOCKER_HOST", "unix://"+spy.socket)

	var streamed = want
	t.Run("stream", func(t *testing.T) {
		img, err := openDocker(t.Context(), "deb-slim", Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if img.Platform != want.Platform {
			t.Errorf("platform %v, want %v", img.Platform, want.Platform)
		}
		streamed = mustRead(t, img)
		same(t, want, streamed)
		if diff := cmp.Diff([]string{"deb-slim:latest"}, streamed.Tags); diff != "" {
			t.Error(diff)
		}
		if n := spy.saves(); n != 1 {
			t.Errorf("saved %d times", n)
		}
	})
	t.Run("known", func(t *testing.T) {
		img, err := openDocker(t.Context(), "deb-slim", Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		spy.wantKnown(t, img, streamed, 0)
	})
	t.Run("names", func(t *testing.T) {
		id := string(want.ID)
		for _, name := range []string{"deb-slim:latest", "docker.io/library/deb-slim", id, id[len("sha256:"):], id[len("sha256:"):][:12]} {
			img, err := openDocker(t.Context(), name, Options{}.withDefaults())
			if err != nil {
				t.Error(err)
				continue
			}
			k := knows(diffIDs(want))
			got, err := img.Read(t.Context(), k.reader())
			if err != nil {
				t.Error(err)
				continue
			}
			same(t, want, got)
			if got.Name != name || got.Source != "docker" {
				t.Errorf("name %q of %q, want %q of docker", got.Name, got.Source, name)
			}
		}
	})
	t.Run("absent", func(t *testing.T) {
		o := Options{}.withDefaults()
		for _, name := range []string{"no-such-image", "Not:A:Name", "../etc", "deb-slim:old", "deb-slim@" + string(want.ID)} {
			if _, err := openDocker(t.Context(), name, o); !errors.Is(err, errNotHere) {
				t.Errorf("%s: %v", name, err)
			}
		}
		o.Platform = "linux/arm64"
		_, err := openDocker(t.Context(), "deb-slim", o)
		if !errors.Is(err, errNotHere) {
			t.Error(err)
		}
		wantError(t, err, "linux/amd64", "linux/arm64")
	})
	// Neither of the first two steps has a size, and only one made a layer.
	t.Run("doubt", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nCOPY empty /empty\nWORKDIR /\nLABEL a=b c=d\nENV X=y\n")
		write(t, filepath.Join(dir, "empty"), "")
		t.Setenv("DOCKER_BUILDKIT", "0")
		docker("build", "--quiet", "--tag", "doubt", dir)
		img, err := openDocker(t.Context(), "doubt", Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		streamed := mustRead(t, img)
		if len(streamed.Layers) != 1 || streamed.Labels["a"] != "b" {
			t.Fatalf("built something else: %+v", streamed)
		}
		spy.wantKnown(t, img, streamed, 1)
	})
	small := bigImage(t)
	docker("load", "--input", inFile(t, tarOf(t, dockerFiles(t, small, "small:latest")...)))
	t.Run("cut", func(t *testing.T) { testDockerCut(t, socket, small.plain[0]) })
	t.Run("where", func(t *testing.T) { testDockerWhere(t, socket, address, certs, small) })
}

// TestDockerStores reads from the two image stores of newer engines, which
// both save in the form of an OCI layout: of plain layers with their diff IDs
// for names, or of whatever was pulled.
func TestDockerStores(t *testing.T) {
	dockerd := os.Getenv("PLIMSOLL_DOCKERD")
	if dockerd == "" {
		dockerd = "dockerd"
	}
	testenv.NeedRoot(t, dockerd, "docker", "skopeo")
	var major int
	if _, err := fmt.Sscanf(testenv.Run(t, dockerd, "--version"), "Docker version %d", &major); err == nil && major < 25 {
		testenv.Optional(t, fmt.Sprintf("dockerd %d has no image store of containerd; set PLIMSOLL_DOCKERD to that of Docker 25 or newer", major))
	}
	archive := testenv.Image(t, "deb-slim")
	oci := filepath.Join(t.TempDir(), "deb-slim.ociar")
	testenv.Run(t, "skopeo", "copy", "--quiet", "oci:"+strings.TrimSuffix(archive, ".tar")+".oci:latest", "oci-archive:"+oci+":docker.io/library/compressed:latest")
	multi := multiPlatform(t)

	for _, store := range []string{"classic", "containerd"} {
		t.Run(store, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "daemon.json")
			write(t, config, fmt.Sprintf(`{"features": {"containerd-snapshotter": %t}}`, store == "containerd"))
			state := testenv.ShortDir(t)
			socket := testenv.Dockerd(t, dockerd, "--config-file", config, "--exec-root", state)
			docker := dockerAt(t, socket)
			docker("load", "--input", archive)
			spy := newSpy(t, socket, nil)
			t.Setenv("DOCKER_HOST", "unix://"+spy.socket)
			images := map[string]string{"deb-slim": archive}
			if store == "containerd" {
				docker("load", "--input", oci)
				images["compressed"] = oci
			}
			for name, archive := range images {
				want := factsOf(t, "archive:"+archive, Options{})
				img, err := openDocker(t.Context(), name, Options{}.withDefaults())
				if err != nil {
					t.Fatal(err)
				}
				streamed := mustRead(t, img)
				same(t, want, streamed)
				spy.wantKnown(t, img, streamed, map[string]int{"classic": 0, "containerd": 1}[store])
			}
			if store == "classic" {
				return
			}

			docker("load", "--input", multi)
			for _, platform := range []string{"", "linux/amd64", "linux/arm64"} {
				o := Options{Platform: platform}.withDefaults()
				img, err := openDocker(t.Context(), "multi", o)
				if err != nil {
					t.Error(err)
					continue
				}
				got := mustRead(t, img)
				same(t, factsOf(t, "archive:"+multi, o), got)
				if p := got.Platform.String(); platform != "" && p != platform || img.Platform != got.Platform {
					t.Errorf("platform %s (%s when opened), want %s", p, img.Platform, platform)
				}
			}
			o := Options{Platform: "linux/s390x"}.withDefaults()
			if _, err := openDocker(t.Context(), "multi", o); !errors.Is(err, errNotHere) {
				t.Error(err)
			}

			// The same image, read around the engine from its containerd.
			t.Setenv("CONTAINERD_ADDRESS", filepath.Join(state, "containerd/containerd.sock"))
			around, err := openContainerd(t.Context(), "compressed", Options{}.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			same(t, factsOf(t, "archive:"+oci, Options{}), mustRead(t, around[0]))
		})
	}
}

// TestPodman is TestDocker for Podman's form of the API.
func TestPodman(t *testing.T) {
	testenv.NeedRoot(t, "podman")
	archive := testenv.Image(t, "deb-slim")
	want := factsOf(t, "archive:"+archive, Options{})
	dir := testenv.ShortDir(t)
	socket := filepath.Join(dir, "podman", "podman.sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	flags := []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
	}
	testenv.Run(t, "podman", append(flags, "load", "--input", archive)...)
	testenv.Start(t, testenv.Listens(socket), "podman", append(flags, "system", "service", "--time", "0", "unix://"+socket)...)
	spy := newSpy(t, socket, nil)

	var streamed plimsoll.Image
	for _, c := range []struct{ name, variable, value string }{
		{"deb-slim", "CONTAINER_HOST", "unix://" + spy.socket},
		{"localhost/deb-slim:latest", "CONTAINER_HOST", "unix://" + spy.socket},
		{string(want.ID), "CONTAINER_HOST", "unix://" + spy.socket},
		{"deb-slim", "XDG_RUNTIME_DIR", dir},
	} {
		t.Run(c.variable+" "+c.name, func(t *testing.T) {
			t.Setenv("CONTAINER_HOST", "")
			t.Setenv(c.variable, c.value)
			img, err := openPodman(t.Context(), c.name, Options{}.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			if streamed.ID == "" {
				streamed = mustRead(t, img)
			}
			same(t, want, streamed)
			if diff := cmp.Diff([]string{"localhost/deb-slim:latest"}, streamed.Tags); diff != "" {
				t.Error(diff)
			}
			streamed.Name = c.name
			spy.wantKnown(t, img, streamed, 0)
		})
	}
	t.Run("absent", func(t *testing.T) {
		t.Setenv("CONTAINER_HOST", "unix://"+socket)
		if _, err := openPodman(t.Context(), "no-such-image", Options{}.withDefaults()); !errors.Is(err, errNotHere) {
			t.Error(err)
		}
		t.Setenv("CONTAINER_HOST", "unix://"+socket+".not")
		if _, err := openPodman(t.Context(), "deb-slim", Options{}.withDefaults()); !errors.Is(err, errNotHere) {
			t.Error(err)
		}
	})
}

// TestDockerLies is about engines that do not keep to the protocol. What they
// do right, a real answer does.
func TestDockerLies(t *testing.T) {
	const id = "sha256:eb63fa6c57a2212ec1bbb33db3c03e0b86b44a49d69005280b270853f3dae89a"
	const good = `{"Id":"` + id + `","Os":"linux","Architecture":"amd64","RootFS":{"Layers":["` + id + `"]}}`
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, c := range []struct {
		name          string
		inspect, save http.HandlerFunc
		want          []string
		absent        bool
	}{
		{"empty object", answer(`{}`), nil, []string{"x", "id"}, false},
		{"no JSON", answer(`<html>hello</html>`), nil, []string{"x", "invalid character"}, false},
		{"id that is none", answer(`{"Id":"sha256:../../etc"}`), nil, []string{"id"}, false},
		{"wrong types", answer(`{"Id":3}`), nil, []string{"cannot unmarshal"}, false},
		{"endless answer", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"Id":"`)
			for _, err := io.WriteString(w, strings.Repeat("a", 1<<16)); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("a", 1<<16))
			}
		}, nil, []string{"16 MiB"}, false},
		{"error", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"the disk is on fire"}`, http.StatusInternalServerError)
		}, nil, []string{"the disk is on fire"}, false},
		{"not found", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"no such image: x"}`, http.StatusNotFound)
		}, nil, []string{"no such image"}, true},
		{"hangs", hang, nil, []string{"no answer"}, false},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, []string{"EOF"}, false},
		{"save hangs", answer(good), hang, []string{"no byte"}, false},
		{"save stalls", answer(good), func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("manifest"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, []string{"no byte"}, false},
		{"save fails", answer(good), func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"blob is gone"}`, http.StatusInternalServerError)
		}, []string{"blob is gone"}, false},
		{"save is empty", answer(good), answer(""), []string{"nothing"}, false},
		{"save is no archive", answer(good), answer(strings.Repeat("hello\n", 1000)), []string{"tar archive"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
			mux.HandleFunc("/v1.41/images/x/json", c.inspect)
			if c.save != nil {
				mux.HandleFunc("/v1.41/images/get", c.save)
			}
			t.Setenv("DOCKER_HOST", "unix://"+serveSocket(t, mux))
			o := impatient()
			o.timing.stall = 20 * time.Millisecond
			if c.name != "hangs" {
				o.timing.header = 30 * time.Second
			}
			started := time.Now()
			img, err := openDocker(t.Context(), "x", o)
			if err == nil {
				_, err = img.Read(t.Context(), (&taker{}).reader())
			}
			wantError(t, err, c.want...)
			if errors.Is(err, errNotHere) != c.absent {
				t.Errorf("is it not here? %v", err)
			}
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// testDockerCut cuts and changes what a real engine sends of the image small.
func testDockerCut(t *testing.T, socket string, layer []byte) {
	saved := testenv.Run(t, "docker", "--host", "unix://"+socket, "save", "small")
	inLayer := strings.Index(saved, string(layer)) + len(layer)/2
	if inLayer < len(layer)/2 {
		t.Fatal("the engine saves the layer in another form")
	}
	read := func(t *testing.T, change func(body io.Reader) io.Reader) error {
		spy := newSpy(t, socket, func(r *http.Response) error {
			if r.StatusCode == http.StatusOK && strings.HasSuffix(r.Request.URL.Path, "/images/get") {
				r.Body = struct {
					io.Reader
					io.Closer
				}{change(r.Body), r.Body}
			}
			return nil
		})
		t.Setenv("DOCKER_HOST", "unix://"+spy.socket)
		img, err := openDocker(t.Context(), "small", Options{}.withDefaults())
		if err != nil {
			return err
		}
		_, err = img.Read(t.Context(), (&taker{}).reader())
		return err
	}

	for name, cut := range map[string]int{"in a header": 700, "in a layer": inLayer, "after the layers": strings.LastIndex(saved, "manifest.json") + 100} {
		t.Run("cut "+name, func(t *testing.T) {
			// As if all were well: the stream ends as HTTP wants it to.
			err := read(t, func(body io.Reader) io.Reader { return io.LimitReader(body, int64(cut)) })
			wantError(t, err, "truncated")
		})
	}
	t.Run("connection breaks", func(t *testing.T) {
		err := read(t, func(body io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(body, int64(inLayer)), iotest.ErrReader(errors.New("gone")))
		})
		wantError(t, err, "truncated")
	})
	t.Run("altered layer", func(t *testing.T) {
		err := read(t, func(body io.Reader) io.Reader { return &altering{body, inLayer} })
		wantError(t, err, "layer", "altered", "diff ID")
	})
	t.Run("another image", func(t *testing.T) {
		other := strings.Repeat("0", 64)
		spy := newSpy(t, socket, nil)
		mux := http.NewServeMux()
		mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
		mux.HandleFunc("/v1.41/images/x/json", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"Id":"sha256:%s","RootFS":{"Layers":["sha256:%s"]}}`, other, other)
		})
		mux.HandleFunc("/v1.41/images/get", func(w http.ResponseWriter, r *http.Request) {
			r.URL.RawQuery = "names=small"
			spy.proxy.ServeHTTP(w, r)
		})
		t.Setenv("DOCKER_HOST", "unix://"+serveSocket(t, mux))
		img, err := openDocker(t.Context(), "x", Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		_, err = img.Read(t.Context(), (&taker{}).reader())
		wantError(t, err, "another image")
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "unix://"+socket)
		img, err := openDocker(t.Context(), "small", Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		k := &taker{during: cancel}
		if _, err := img.Read(ctx, k.reader()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// altering changes one byte of a stream.
type altering struct {
	io.Reader
	at int
}

func (a *altering) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if a.at >= 0 && a.at < n {
		p[a.at] ^= 1
	}
	a.at -= n
	return n, err
}

// testDockerWhere finds the engine in all the ways in which the docker command
// does; that command writes the configuration.
func testDockerWhere(t *testing.T, socket, address, certs string, small *made) {
	pem := func(name string) string { return filepath.Join(certs, name+".pem") }
	home := t.TempDir()
	t.Setenv("DOCKER_CONFIG", home)
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, "")
	}
	testenv.Run(t, "docker", "context", "create", "here", "--docker", "host=unix://"+socket)
	testenv.Run(t, "docker", "context", "create", "secure", "--docker",
		fmt.Sprintf("host=tcp://%s,ca=%s,cert=%s,key=%s", address, pem("ca"), pem("cert"), pem("key")))
	testenv.Run(t, "docker", "context", "create", "unverified", "--docker",
		fmt.Sprintf("host=tcp://%s,cert=%s,key=%s,skip-tls-verify=true", address, pem("cert"), pem("key")))
	testenv.Run(t, "docker", "context", "create", "uncertified", "--docker", "host=tcp://"+address+",ca="+pem("ca"))
	runtimeDir := testenv.ShortDir(t)
	if err := os.Symlink(socket, filepath.Join(runtimeDir, "docker.sock")); err != nil {
		t.Fatal(err)
	}
	// What ssh would do on the other machine.
	bin := t.TempDir()
	write(t, filepath.Join(bin, "ssh"), `#!/bin/sh
echo "$@" >>`+bin+`/args
while [ "$1" != -- ]; do shift; done
shift
[ "$1" = build ] || { echo "ssh: Could not resolve hostname $1" >&2; exit 255; }
shift
DOCKER_HOST=unix://`+socket+` exec sh -c "$*"
`)
	if err := os.Chmod(filepath.Join(bin, "ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	for _, c := range []struct {
		name string
		env  map[string]string
		want string // in the error; empty when it is found
	}{
		{"socket", map[string]string{"DOCKER_HOST": "unix://" + socket}, ""},
		{"rootless", map[string]string{"XDG_RUNTIME_DIR": runtimeDir}, ""},
		{"context", map[string]string{"DOCKER_CONTEXT": "here"}, ""},
		{"host before context", map[string]string{"DOCKER_HOST": "unix://" + socket, "DOCKER_CONTEXT": "none"}, ""},
		{"version", map[string]string{"DOCKER_CONTEXT": "here", "DOCKER_API_VERSION": "1.40"}, ""},
		{"secure context", map[string]string{"DOCKER_CONTEXT": "secure"}, ""},
		{"unverified context", map[string]string{"DOCKER_CONTEXT": "unverified"}, ""},
		{"TLS", map[string]string{"DOCKER_HOST": "tcp://" + address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": certs}, ""},
		{"TLS without scheme", map[string]string{"DOCKER_HOST": address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": certs}, ""},
		{"ssh", map[string]string{"DOCKER_HOST": "ssh://me@build:2222"}, ""},
		{"ssh to a socket", map[string]string{"DOCKER_HOST": "ssh://build" + socket}, ""},

		{"no context", map[string]string{"DOCKER_CONTEXT": "none"}, `docker context "none"`},
		{"no certificate", map[string]string{"DOCKER_CONTEXT": "uncertified"}, "certificate"},
		{"no TLS", map[string]string{"DOCKER_HOST": "tcp://" + address}, "HTTPS"},
		{"no ssh", map[string]string{"DOCKER_HOST": "ssh://elsewhere"}, "Could not resolve hostname elsewhere"},
		{"ssh option", map[string]string{"DOCKER_HOST": "ssh://-oProxyCommand=x"}, "ssh://"},
		{"no socket", map[string]string{"DOCKER_HOST": "unix:///nowhere/d.sock"}, "/nowhere/d.sock"},
		{"not listening", map[string]string{"DOCKER_HOST": "tcp://127.0.0.1:1"}, "127.0.0.1:1"},
		{"web address", map[string]string{"DOCKER_HOST": "https://127.0.0.1"}, "cannot begin with https://"},
		{"no address", map[string]string{"DOCKER_HOST": "unix://"}, "unable to parse docker host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			_, err := openDocker(t.Context(), "small", Options{}.withDefaults())
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" {
				wantError(t, err, c.want)
			}
		})
	}
	t.Run("current context", func(t *testing.T) {
		testenv.Run(t, "docker", "context", "use", "here")
		if _, err := openDocker(t.Context(), "small", Options{}.withDefaults()); err != nil {
			t.Error(err)
		}
	})
	t.Run("read over ssh", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "ssh://build")
		img, err := openDocker(t.Context(), "small", Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if got := mustRead(t, img); got.ID != small.id() {
			t.Errorf("read %s, want %s", got.ID, small.id())
		}
	})
	t.Run("ssh arguments", func(t *testing.T) {
		args, err := os.ReadFile(filepath.Join(bin, "args"))
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(args), "\n")
		if want := "-T -o ConnectTimeout=30 -l me -p 2222 -- build docker system dial-stdio"; first != want {
			t.Errorf("ssh %s, want %s", first, want)
		}
	})
	t.Run("broken configuration", func(t *testing.T) {
		write(t, filepath.Join(home, "config.json"), `{"currentContext":`)
		_, err := openDocker(t.Context(), "small", Options{}.withDefaults())
		wantError(t, err, "config.json")
	})
}

// freeAddress is an address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// writeCertificates makes a certificate for 127.0.0.1 that is its own
// authority, for the engine and for us.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	write(t, filepath.Join(dir, "ca.pem"), certPEM)
	write(t, filepath.Join(dir, "cert.pem"), certPEM)
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

// TestPermission connects as somebody who may not.
func TestPermission(t *testing.T) {
	testenv.NeedRoot(t)
	socket := serveSocket(t, http.NotFoundHandler())
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	// Only this thread becomes somebody else, and ends with the goroutine.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			done <- err
			return
		}
		done <- tryAddress(context.Background(), "unix", socket)
	}()
	err := <-done
	wantError(t, err, socket, "permission")
	if hint := plimsoll.HintOf(err); !strings.Contains(hint, "root") || !strings.Contains(hint, "group") {
		t.Errorf("hint %q", hint)
	}
	if errors.Is(err, errNotHere) {
		t.Errorf("somebody is here: %v", err)
	}
}

func TestEmptySteps(t *testing.T) {
	run := func(size int64) imagetypes.HistoryResponseItem {
		return imagetypes.HistoryResponseItem{CreatedBy: "RUN /bin/sh -c true # buildkit", Size: size}
	}
	item := func(createdBy string) imagetypes.HistoryResponseItem {
		return imagetypes.HistoryResponseItem{CreatedBy: createdBy}
	}
	for _, c := range []struct {
		name    string
		history []imagetypes.HistoryResponseItem
		layers  int
		want    []bool // nil: cannot be told
	}{
		{"all have sizes", []imagetypes.HistoryResponseItem{run(1), item("/bin/sh -c #(nop)  CMD [\"x\"]"), run(2)}, 2, []bool{false, true, false}},
		{"layers without size", []imagetypes.HistoryResponseItem{run(1), item("WORKDIR /a"), item("ENV A=b"), run(0)}, 3, []bool{false, false, true, false}},
		{"steps that did nothing", []imagetypes.HistoryResponseItem{run(1), run(0), item("/bin/sh -c #(nop) WORKDIR /")}, 1, []bool{false, true, true}},
		{"one of two", []imagetypes.HistoryResponseItem{run(1), run(0), run(0)}, 2, nil},
		{"too few steps", []imagetypes.HistoryResponseItem{run(1), item("LABEL a=b")}, 2, nil},
		{"too many layers", []imagetypes.HistoryResponseItem{run(1), run(1)}, 1, nil},
		{"no history", nil, 1, nil},
		{"other builders", []imagetypes.HistoryResponseItem{item("bazel build ..."), item("crane append")}, 2, []bool{false, false}},
	} {
		got, ok := emptySteps(c.history, c.layers)
		if ok != (c.want != nil) || ok && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, ok, c.want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
