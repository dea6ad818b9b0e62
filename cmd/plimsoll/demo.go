package main

import (
	"archive/tar"
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/internal/feed"
)

//go:embed demodata/*.json
var demoData embed.FS

func newDemo() *cobra.Command {
	var f scanFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work: build a sample image, push it, pull it back and scan it",
		Long: `Builds a small image of five layers (one of them holds this very program),
pushes it to a registry inside this process, pulls it back and scans it with a
handful of advisories. It needs no network, no engine and no set-up, and leaves
nothing behind.

The advisories are demonstration data about real vulnerabilities, written for
this purpose; see "plimsoll db import" for real ones.

EXIT STATUS
  0  the demonstration ran, whatever it found
  1  it could not run`,
		Example: "  plimsoll demo",
		Args:    args(cobra.NoArgs, "plimsoll demo takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return demo(c, &f)
		},
	}
	f.add(c)
	for _, name := range []string{"platform", "all-platforms", "insecure", "mirror", "db", "cache-dir", "no-cache"} {
		if err := c.Flags().MarkHidden(name); err != nil {
			panic(err) // a flag of that name is added above
		}
	}
	return c
}

func demo(c *cobra.Command, f *scanFlags) error {
	dir, err := os.MkdirTemp("", "plimsoll-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	listener, err := (&net.ListenConfig{}).Listen(c.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		// On disk, so that the demonstration stays within its memory too.
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(dir))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	defer server.Close()
	go func() { _ = server.Serve(listener) }() // ends with Close

	say := func(format string, a ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", a...) }
	ref, err := name.ParseReference(fmt.Sprintf("%s/demo/shop:1.0", listener.Addr()), name.Insecure)
	if err != nil {
		return err
	}
	say("Building a sample image of five layers …")
	img, err := demoImage(dir)
	if err != nil {
		return err
	}
	say("Pushing it to the registry at %s …", listener.Addr())
	if err := remote.Write(ref, img, remote.WithContext(c.Context())); err != nil {
		return err
	}
	say("Importing the demonstration advisories …")
	f.db = filepath.Join(dir, "advisories.db")
	if err := demoAdvisories(c.Context(), f.db, dir); err != nil {
		return err
	}
	say("Pulling the image back and scanning it …\n")
	f.insecure, f.noCache = true, true
	if _, err := scanImage(c, f, "registry:"+ref.Name()); err != nil {
		return err
	}
	say(`
The advisories above are demonstration data. For the real thing:
  plimsoll db import FILE|DIR...    take in OSV records, such as the all.zip of an ecosystem
  plimsoll scan IMAGE               scan an image, wherever it is`)
	return nil
}

// demoAdvisories makes an advisory file of the embedded records.
func demoAdvisories(ctx context.Context, db, dir string) error {
	records := filepath.Join(dir, "osv")
	if err := os.CopyFS(records, demoData); err != nil {
		return err
	}
	_, err := feed.ImportOSV(ctx, db, []string{records}, nil)
	return err
}

// demoFile is one entry of a demonstration layer.
type demoFile struct{ path, content string }

// demoImage builds the sample image; what is too large for memory goes to dir.
func demoImage(dir string) (v1.Image, error) {
	deb := func(name, version, source, more string) string {
		return "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\nSource: " + source +
			"\nMaintainer: Demonstration <demo@example.org>\nDescription: sample\n" + more + "\n"
	}
	base := deb("libc6", "2.36-9+deb12u1", "glibc", "Multi-Arch: same\n") + deb("base-files", "12.4+deb12u1", "base-files", "Essential: yes\n") +
		deb("zlib1g", "1:1.2.13.dfsg-1", "zlib", "Multi-Arch: same\n")
	npm := func(name, version, license string) demoFile {
		return demoFile{"srv/shop/node_modules/" + name + "/package.json", fmt.Sprintf(`{"name":%q,"version":%q,"license":%q}`, name, version, license)}
	}
	python := func(name, version, license string) demoFile {
		return demoFile{"usr/lib/python3/dist-packages/" + name + "-" + version + ".dist-info/METADATA",
			"Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\nLicense: " + license + "\n\nsample\n"}
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	steps := []struct {
		step  string
		layer func() (v1.Layer, error)
	}{
		{"ADD rootfs.tar / # a few packages of Debian 12", smallLayer(
			demoFile{"etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n"},
			demoFile{"var/lib/dpkg/status", base + deb("libssl3", "3.0.11-1~deb12u1", "openssl", "Multi-Arch: same\n")})},
		{"RUN pip install requests==2.19.0 urllib3==1.24.1", smallLayer(python("requests", "2.19.0", "Apache-2.0"), python("urllib3", "1.24.1", "MIT"))},
		{"COPY shop /srv/shop", smallLayer(npm("express", "4.18.2", "MIT"), npm("lodash", "4.17.20", "MIT"), npm("minimist", "1.2.5", "MIT"))},
		{"RUN apt-get install -y --only-upgrade libssl3 && rm -r /srv/shop/node_modules/minimist", smallLayer(
			demoFile{"var/lib/dpkg/status", base + deb("libssl3", "3.0.11-1~deb12u2", "openssl", "Multi-Arch: same\n")},
			demoFile{"srv/shop/node_modules/.wh.minimist", ""})},
		{"COPY plimsoll /usr/local/bin/", programLayer(program, filepath.Join(dir, "program.tar"))},
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, s := range steps {
		layer, err := s.layer()
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: s.step}}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Labels = map[string]string{"org.opencontainers.image.title": "Plimsoll's sample shop"}
	return mutate.ConfigFile(img, config)
}

// smallLayer is a gzip layer of the files, made in memory.
func smallLayer(files ...demoFile) func() (v1.Layer, error) {
	return func() (v1.Layer, error) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, f := range files {
			if err := w.WriteHeader(&tar.Header{Name: f.path, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}); err != nil {
				return nil, err
			}
			if _, err := io.WriteString(w, f.content); err != nil {
				return nil, err
			}
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
	}
}

// programLayer is an uncompressed layer with the file program in it.
func programLayer(program, file string) func() (v1.Layer, error) {
	return func() (v1.Layer, error) {
		from, err := os.Open(program)
		if err != nil {
			return nil, err
		}
		defer from.Close()
		info, err := from.Stat()
		if err != nil {
			return nil, err
		}
		to, err := os.Create(file)
		if err != nil {
			return nil, err
		}
		defer to.Close()
		w := tar.NewWriter(to)
		h := &tar.Header{Name: path.Join("usr/local/bin", "plimsoll"), Mode: int64(fs.ModePerm), Size: info.Size(), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, from); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		hash, size, err := hashFile(file)
		return plainLayer{file, hash, size}, err
	}
}

func hashFile(file string) (v1.Hash, int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return v1.Hash{}, 0, err
	}
	defer f.Close()
	return v1.SHA256(f)
}

// plainLayer is a tar file as a layer, not compressed.
type plainLayer struct {
	file string
	hash v1.Hash
	size int64
}

func (l plainLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l plainLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l plainLayer) Size() (int64, error)                 { return l.size, nil }
func (l plainLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l plainLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.file) }
func (l plainLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.file) }
