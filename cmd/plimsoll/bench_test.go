package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// The figures of docs/performance.md. Everything runs as a process of its own,
// the floor and the program in turn, and what counts is their CPU time: these
// are ratios within one run, not times.

const floorArg = "-plimsoll-floor"

// floor is the least that any scanner that checks digests has to do: read each
// layer once, inflate it, walk its tar entries, hash both streams. A plain
// layer is one stream, and hashed once.
func floor(files []string) {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		if strings.HasSuffix(name, ".tar") {
			for tr := tar.NewReader(f); ; {
				h, err := tr.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					panic(err)
				}
				if strings.HasSuffix(h.Name, "layer.tar") && h.Typeflag == tar.TypeReg {
					walk(tr)
				}
			}
		} else {
			stored := sha256.New()
			z, err := gzip.NewReader(bufio.NewReaderSize(io.TeeReader(f, stored), 128<<10))
			if err != nil {
				panic(err)
			}
			walk(z)
			fmt.Fprintf(io.Discard, "%x", stored.Sum(nil))
		}
		f.Close()
	}
}

func walk(r io.Reader) {
	hash := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(r, hash), 128<<10)
	for tr := tar.NewReader(in); ; {
		if _, err := tr.Next(); err == io.EOF {
			break
		} else if err != nil {
			panic(err)
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		panic(err)
	}
	fmt.Fprintf(io.Discard, "%x", hash.Sum(nil))
}

// child runs the test binary as another program and gives its CPU seconds and
// its peak memory in MiB.
func child(b *testing.B, argv0 string, args ...string) (cpu, peak float64) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args = append([]string{argv0}, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s %q: %v\n%s", argv0, args, err, stderr.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), float64(usage.Maxrss) / 1024
}

// against measures `plimsoll bom` of an image against the floor of its files.
func against(b *testing.B, image string, files []string) {
	b.Helper()
	out := b.TempDir()
	var cpu, low, peak float64
	for b.Loop() {
		l, _ := child(b, "test", append([]string{floorArg}, files...)...)
		c, p := child(b, "plimsoll", "bom", "--no-cache", "--format", "json", "-o", filepath.Join(out, "bom.json"), image)
		cpu, low, peak = cpu+c, low+l, max(peak, p)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(cpu/float64(b.N), "cpu-s/op")
	b.ReportMetric(cpu/low, "x-floor")
	b.ReportMetric(peak, "peak-MiB")
}

func gzipBlobs(b *testing.B, layout string) []string {
	b.Helper()
	all, err := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
	if err != nil {
		b.Fatal(err)
	}
	var layers []string
	for _, name := range all {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		magic := make([]byte, 2)
		_, err = io.ReadFull(f, magic)
		f.Close()
		if err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
			layers = append(layers, name)
		}
	}
	return layers
}

func BenchmarkCold(b *testing.B) {
	for _, name := range []string{"deb-web", "node-app"} {
		archive := testenv.Image(b, name)
		layout := strings.TrimSuffix(archive, ".tar") + ".oci"
		b.Run(name+"/layout", func(b *testing.B) { against(b, layout, gzipBlobs(b, layout)) })
		b.Run(name+"/archive", func(b *testing.B) { against(b, archive, []string{archive}) })
	}
}

func BenchmarkLarge(b *testing.B) {
	b.Run("3GB/archive", func(b *testing.B) {
		archive := filepath.Join(b.TempDir(), "image.tar")
		makeArchive(b, archive, 3000, 1<<20)
		against(b, archive, []string{archive})
	})
	b.Run("500000files/layout", func(b *testing.B) {
		layout := b.TempDir()
		makeLayout(b, layout, 500_000, 200)
		against(b, layout, gzipBlobs(b, layout))
	})
}

// The second scan of an image, all of whose layers are known.
func BenchmarkCached(b *testing.B) {
	for _, name := range []string{"deb-web", "node-app"} {
		layout := strings.TrimSuffix(testenv.Image(b, name), ".tar") + ".oci"
		b.Run(name, func(b *testing.B) {
			args := []string{"bom", "--cache-dir", b.TempDir(), "--format", "json", "-o", filepath.Join(b.TempDir(), "bom.json"), layout}
			child(b, "plimsoll", args...)
			var cpu, peak float64
			for b.Loop() {
				c, p := child(b, "plimsoll", args...)
				cpu, peak = cpu+c, max(peak, p)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(cpu/float64(b.N), "cpu-s/op")
			b.ReportMetric(peak, "peak-MiB")
		})
	}
}

// tree writes n files of random content in directories of 100, and one package
// that a detector finds, so that the image is not an empty one.
func tree(b *testing.B, w io.Writer, n, size int) {
	b.Helper()
	tw := tar.NewWriter(w)
	file := func(name string, content []byte) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			b.Fatal(err)
		}
		if _, err := tw.Write(content); err != nil {
			b.Fatal(err)
		}
	}
	file("srv/app/node_modules/left-pad/package.json", []byte(`{"name":"left-pad","version":"1.3.0"}`))
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, size)
	for i := range n {
		if _, err := random.Read(content); err != nil {
			b.Fatal(err)
		}
		file(fmt.Sprintf("srv/data/%03d/%03d/file-%d.bin", i/10000, i/100%100, i), content)
	}
	if err := tw.Close(); err != nil {
		b.Fatal(err)
	}
}

const imageConfig = `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]},"history":[{"created_by":"COPY data /srv/data"}]}`

// makeArchive writes a docker-archive of one layer.
func makeArchive(b *testing.B, name string, n, size int) {
	b.Helper()
	layer := name + ".layer"
	f, err := os.Create(layer)
	if err != nil {
		b.Fatal(err)
	}
	hash := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(f, hash), 1<<20)
	tree(b, buffered, n, size)
	if err := buffered.Flush(); err != nil {
		b.Fatal(err)
	}
	defer os.Remove(layer)
	config := fmt.Appendf(nil, imageConfig, hash.Sum(nil))
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	out, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	tw := tar.NewWriter(out)
	entry := func(name string, size int64, content io.Reader) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(tw, content); err != nil {
			b.Fatal(err)
		}
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest := fmt.Sprintf(`[{"Config":%q,"RepoTags":["large:latest"],"Layers":["0/layer.tar"]}]`, configName)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	entry("0/layer.tar", info.Size(), f)
	entry(configName, int64(len(config)), strings.NewReader(string(config)))
	entry("manifest.json", int64(len(manifest)), strings.NewReader(manifest))
	if err := tw.Close(); err != nil {
		b.Fatal(err)
	}
	f.Close()
}

// makeLayout writes an OCI layout of one gzip layer.
func makeLayout(b *testing.B, dir string, n, size int) {
	b.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		b.Fatal(err)
	}
	tmp := filepath.Join(blobs, "layer")
	f, err := os.Create(tmp)
	if err != nil {
		b.Fatal(err)
	}
	stored, plain := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, stored), gzip.BestSpeed)
	if err != nil {
		b.Fatal(err)
	}
	buffered := bufio.NewWriterSize(io.MultiWriter(z, plain), 1<<20)
	tree(b, buffered, n, size)
	if err := buffered.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	f.Close()
	if err := os.Rename(tmp, filepath.Join(blobs, fmt.Sprintf("%x", stored.Sum(nil)))); err != nil {
		b.Fatal(err)
	}
	blob := func(mediaType string, content []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		if err := os.WriteFile(filepath.Join(blobs, sum), content, 0o644); err != nil {
			b.Fatal(err)
		}
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(content)}
	}
	config := blob("application/vnd.oci.image.config.v1+json", fmt.Appendf(nil, imageConfig, plain.Sum(nil)))
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": fmt.Sprintf("sha256:%x", stored.Sum(nil)), "size": info.Size()}},
	})
	if err != nil {
		b.Fatal(err)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{blob("application/vnd.oci.image.manifest.v1+json", manifest)}})
	if err != nil {
		b.Fatal(err)
	}
	for name, content := range map[string][]byte{"index.json": index, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
