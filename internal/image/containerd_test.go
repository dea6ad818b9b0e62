//go:build linux

package image

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

// TestContainerd holds containerd's store against the OCI layout that its
// image came from.
func TestContainerd(t *testing.T) {
	testenv.NeedRoot(t, "containerd", "ctr", "skopeo")
	layout := strings.TrimSuffix(testenv.Image(t, "deb-slim"), ".tar") + ".oci"
	want := factsOf(t, "oci:"+layout, Options{})
	dir := testenv.ShortDir(t)
	address := filepath.Join(dir, "c.sock")
	config := filepath.Join(dir, "config.toml")
	write(t, config, `version = 2
root = "`+dir+`/root"
state = "`+dir+`/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "`+address+`"
`)
	testenv.Start(t, testenv.Listens(address), "containerd", "--config", config)
	ctr := func(args ...string) { testenv.Run(t, "ctr", append([]string{"--address", address}, args...)...) }
	oci := filepath.Join(dir, "deb-slim.tar")
	testenv.Run(t, "skopeo", "copy", "--quiet", "oci:"+layout+":latest", "oci-archive:"+oci+":latest")
	ctr("-n", "default", "images", "import", "--no-unpack", "--base-name", "docker.io/library/deb-slim", oci)
	ctr("-n", "default", "images", "tag", "docker.io/library/deb-slim:latest", "example.org:5000/team/slim:v1")
	ctr("-n", "k8s.io", "images", "import", "--no-unpack", "--base-name", "docker.io/kubelets/own", oci)
	ctr("-n", "k8s.io", "images", "tag", "docker.io/kubelets/own:latest", string(want.ID))
	ctr("-n", "moby", "images", "import", "--no-unpack", "--all-platforms", multiPlatform(t))
	t.Setenv("CONTAINERD_ADDRESS", address)
	t.Setenv("CONTAINERD_NAMESPACE", "")
	o := Options{}.withDefaults()

	for i, name := range []string{
		"deb-slim", "deb-slim:latest", "docker.io/library/deb-slim:latest",
		"deb-slim@" + string(want.Digest), "deb-slim:latest@" + string(want.Digest), "deb-slim:other@" + string(want.Digest),
		"example.org:5000/team/slim:v1", string(want.Digest), want.Digest.Hex(),
		"kubelets/own", string(want.ID), // found in the second namespace
	} {
		t.Run(name, func(t *testing.T) {
			images, err := openContainerd(t.Context(), name, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(images) != 1 || images[0].Platform != want.Platform {
				t.Fatalf("%d images, the first for %s", len(images), images[0].Platform)
			}
			var got plimsoll.Image
			if i == 0 {
				got = mustRead(t, images[0])
			} else if got, err = images[0].Read(t.Context(), knows(diffIDs(want)).reader()); err != nil {
				t.Fatal(err)
			}
			same(t, want, got)
			if got.Digest != want.Digest || got.Name != name || got.Source != "containerd" {
				t.Errorf("%s of %s has the digest %s, want %s", got.Name, got.Source, got.Digest, want.Digest)
			}
			if diff := cmp.Diff(want.Layers, got.Layers); diff != "" {
				t.Errorf("as stored (-want +got):\n%s", diff)
			}
			tags := []string{"docker.io/library/deb-slim:latest", "example.org:5000/team/slim:v1"}
			if slices.Contains(got.Tags, string(want.ID)) {
				tags = []string{"docker.io/kubelets/own:latest", string(want.ID)}
			}
			if diff := cmp.Diff(tags, got.Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		other := plimsoll.SHA256(nil)
		for _, name := range []string{
			"no-such-image", "deb-slim:v2", "Not:A:Name", "../x", "deb-slim@" + string(other), string(other),
			"deb-slim@" + string(want.ID), "other@" + string(want.Digest),
		} {
			if _, err := openContainerd(t.Context(), name, o); !errors.Is(err, errNotHere) {
				t.Errorf("%s: %v", name, err)
			}
		}
		t.Setenv("CONTAINERD_NAMESPACE", "k8s.io")
		_, err := openContainerd(t.Context(), "deb-slim", o)
		wantError(t, err, "docker.io/library/deb-slim:latest", "k8s.io")
		if !errors.Is(err, errNotHere) {
			t.Error(err)
		}
		t.Setenv("CONTAINERD_ADDRESS", address+".not")
		if _, err := openContainerd(t.Context(), "deb-slim", o); !errors.Is(err, errNotHere) {
			t.Error(err)
		}
	})
	t.Run("platforms", func(t *testing.T) {
		for platform, want := range map[string][]string{
			"": {"linux/amd64"}, "linux/arm64": {"linux/arm64"}, "all": {"linux/amd64", "linux/arm64"},
		} {
			o := o
			if o.Platform = platform; platform == "all" {
				o.Platform, o.AllPlatforms = "", true
			}
			images, err := openContainerd(t.Context(), "multi", o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, img := range images {
				got = append(got, mustRead(t, img).Platform.String())
			}
			if platform != "" || hostPlatform().Architecture == "amd64" {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%q (-want +got):\n%s", platform, diff)
				}
			}
		}
		o := o
		o.Platform = "linux/s390x"
		_, err := openContainerd(t.Context(), "multi", o)
		wantError(t, err, "linux/s390x", "linux/amd64, linux/arm64")
	})
	t.Run("known layers are not read", func(t *testing.T) {
		images, err := openContainerd(t.Context(), "deb-slim", o)
		if err != nil {
			t.Fatal(err)
		}
		k := knows(diffIDs(want)[:2])
		got, err := images[0].Read(t.Context(), k.reader())
		if err != nil {
			t.Fatal(err)
		}
		same(t, want, got)
		if diff := cmp.Diff(diffIDs(want)[2:], k.read); diff != "" {
			t.Error(diff)
		}
	})
	// What a lazy pull leaves: the manifest, and not all of the layers.
	t.Run("missing layer", func(t *testing.T) {
		images, err := openContainerd(t.Context(), "kubelets/own", o)
		if err != nil {
			t.Fatal(err)
		}
		missing := want.Layers[1]
		ctr("-n", "k8s.io", "content", "rm", string(missing.Digest))
		_, err = images[0].Read(t.Context(), (&taker{parallel: 2}).reader())
		wantError(t, err, "layer 1", missing.Digest.Short(), "containerd")
		if hint := plimsoll.HintOf(err); !strings.Contains(hint, "registry") {
			t.Errorf("hint %q", hint)
		}
		// Only what is read must be there.
		if _, err := images[0].Read(t.Context(), knows([]plimsoll.Digest{missing.DiffID}).reader()); err != nil {
			t.Error(err)
		}
		ctr("-n", "k8s.io", "content", "rm", string(want.ID))
		_, err = openContainerd(t.Context(), "kubelets/own", o)
		wantError(t, err, "configuration", "not there")
	})
	t.Run("altered layer", func(t *testing.T) {
		layer := want.Layers[2]
		blob := filepath.Join(dir, "root/io.containerd.content.v1.content/blobs/sha256", layer.Digest.Hex())
		flipByte(t, blob, layer.Size/2)
		images, err := openContainerd(t.Context(), "deb-slim", o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = images[0].Read(t.Context(), (&taker{parallel: 2}).reader())
		wantError(t, err, "layer 2", "altered")
	})
}

// TestContainerdHangs is about a socket where somebody listens and never
// answers, or is something else.
func TestContainerdHangs(t *testing.T) {
	socket := filepath.Join(testenv.ShortDir(t), "c.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("CONTAINERD_ADDRESS", "unix://"+socket)
	started := time.Now()
	_, err = openContainerd(t.Context(), "x", impatient())
	wantError(t, err, "no answer", socket)
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	t.Setenv("CONTAINERD_ADDRESS", serveSocket(t, nil))
	_, err = openContainerd(t.Context(), "x", impatient())
	wantError(t, err, "containerd at")
}
