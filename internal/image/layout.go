package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/plimsoll/plimsoll"
)

// layout is a directory as the OCI image specification defines it
// (image-layout.md).
type layout string

// isLayout tells a layout from the root file system of an image.
func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "oci-layout"))
	return err == nil
}

// openLayout opens the image ref of the layout dir; ref may be empty where the
// layout holds one image only.
func openLayout(ctx context.Context, dir, ref string, o Options) ([]*Image, error) {
	l := layout(dir)
	t := &tree{fetch: l.blob, has: l.has}
	f, err := openRegular(filepath.Join(dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, plimsoll.WithHint(fmt.Errorf("%s has no index.json: it is no OCI layout", dir), "write dir:"+dir+" for the root file system of an image")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	index, err := t.limited(f)
	if err != nil {
		return nil, fmt.Errorf("reading index.json of %s: %w", dir, err)
	}
	images, err := t.indexed(ctx, index, ref, o)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	var opened []*Image
	for _, m := range images {
		opened = append(opened, newImage("oci", withRef(dir, ref), m.facts.Platform, func(ctx context.Context, r Reader) (plimsoll.Image, error) {
			err := readParts(ctx, r, m.facts, m.parts(l.blob))
			return m.facts, err
		}))
	}
	return opened, nil
}

// withRef is the opposite of splitRef.
func withRef(path, ref string) string {
	if ref == "" || strings.HasPrefix(ref, "@") {
		return path + ref
	}
	return path + ":" + ref
}

// openRegular opens a regular file. Opening anything else could wait for ever.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.Open(path)
}

// blobPath is where an image layout keeps what d names; the digest was checked.
func blobPath(d descriptor) string {
	return "blobs/" + d.Digest.Algorithm() + "/" + d.Digest.Hex()
}

func (l layout) path(d descriptor) string {
	return filepath.Join(string(l), filepath.FromSlash(blobPath(d)))
}

func (l layout) has(d descriptor) bool {
	_, err := os.Stat(l.path(d))
	return err == nil
}

func (l layout) blob(_ context.Context, d descriptor) (*blob, error) {
	f, err := openRegular(l.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", blobPath(d), errAbsent)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != d.Size {
		err = fmt.Errorf("%s has %d bytes, not %d as its descriptor says: it was altered or is incomplete", blobPath(d), info.Size(), d.Size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &blob{ReadCloser: f, at: f, size: d.Size}, nil
}

// indexed opens the image ref of a layout's index.json.
func (t *tree) indexed(ctx context.Context, index []byte, ref string, o Options) ([]*manifested, error) {
	doc, err := parseDocument(index)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if !doc.isIndex() {
		return nil, errors.New("index.json is not an index")
	}
	start, err := t.named(ctx, doc.Manifests, ref)
	if err != nil {
		return nil, err
	}
	return t.images(ctx, start, o)
}

// named picks the entries of a layout's index that ref stands for: a name, or
// @ and the digest of a manifest or index, which may be nested.
func (t *tree) named(ctx context.Context, entries []descriptor, ref string) ([]descriptor, error) {
	if wanted, ok := strings.CutPrefix(ref, "@"); ok {
		digest, err := plimsoll.ParseDigest(wanted)
		if err != nil {
			return nil, err
		}
		for _, d := range entries {
			if d.Digest == digest {
				return []descriptor{d}, nil
			}
		}
		all, err := t.flatten(ctx, entries, nil, nesting)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			if c.Digest == digest {
				return []descriptor{c.descriptor}, nil
			}
		}
		return nil, fmt.Errorf("the index does not name %s", digest)
	}

	var start []descriptor
	var names []string // one of each image
	digests := map[plimsoll.Digest]bool{}
	for _, d := range entries {
		if d.isAttestation() {
			continue
		}
		if ref != "" && !slices.ContainsFunc(d.names(), func(name string) bool { return sameName(name, ref) }) {
			names = append(names, d.names()...)
			continue
		}
		start = append(start, d)
		if n := d.names(); ref == "" && len(n) > 0 {
			names = append(names, n[0])
			digests[d.Digest] = true
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case len(start) == 0 && ref != "":
		hint := "it names no image: leave the name out"
		if len(names) > 0 {
			hint = "it has " + list(quoteAll(names))
		}
		return nil, plimsoll.WithHint(fmt.Errorf("there is no image %s", quote(ref)), hint)
	case len(names) > 1 && len(digests) > 1 && ref == "":
		return nil, plimsoll.WithHint(
			fmt.Errorf("there are several images: %s", list(quoteAll(names))), "say which one, with a colon and its name behind the path")
	}
	return start, nil
}

func quoteAll(names []string) []string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	return quoted
}

// sameName tells whether two image names mean the same, such as alpine and
// docker.io/library/alpine:latest.
func sameName(a, b string) bool {
	if a == b {
		return true
	}
	x, err := name.ParseReference(a)
	if err != nil {
		return false
	}
	y, err := name.ParseReference(b)
	return err == nil && x.Name() == y.Name()
}
