// Package image opens an image wherever it is (registry, engine, archive,
// layout, directory, bill of materials) and hands out its layers as streams.
// Nothing is unpacked and nothing is saved to disk.
package image

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sync/errgroup"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

// Options say where to look for an image and which one is meant. The zero
// value is usable.
type Options struct {
	// Platform that is wanted: os/architecture[/variant]. Empty: an image
	// that is there for one platform only, whichever it is, or else Linux on
	// the architecture of this program.
	Platform string
	// AllPlatforms opens one Image for each platform.
	AllPlatforms bool
	// Insecure allows plain HTTP and does not verify TLS certificates.
	Insecure bool
	// Mirrors to try before a registry: registry host to mirror, which is
	// [http://|https://]HOST[/PREFIX].
	Mirrors map[string]string
	// Keychain gives the credentials for registries; by default those of
	// Docker's configuration and its credential helpers.
	Keychain authn.Keychain
	Limits   plimsoll.Limits
	// Stdin is what the name "-" stands for.
	Stdin io.Reader
	// Progress, if not nil, is told in one line what opening or reading waits
	// for: a registry that asks for patience, a broken connection. It may be
	// called by several goroutines at once.
	Progress func(string)

	timing timing
}

// timing is how long a registry may take; tests shorten it.
type timing struct {
	pause  time.Duration // before the first retry; doubles with each
	asked  time.Duration // the longest Retry-After that is waited for
	header time.Duration // until a response begins
	stall  time.Duration // with next to nothing of a response's body
}

// withDefaults fills what was left out.
func (o Options) withDefaults() Options {
	if o.Limits == (plimsoll.Limits{}) {
		o.Limits = plimsoll.DefaultLimits()
	}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.timing == (timing{}) {
		o.timing = timing{pause: time.Second, asked: time.Minute, header: 30 * time.Second, stall: time.Minute}
	}
	return o
}

// hostPlatform is what images are run as on this machine: Linux, also in the
// virtual machine of an engine on other systems.
func hostPlatform() plimsoll.Platform {
	return plimsoll.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// Image is one image of one platform, ready to be read.
type Image struct {
	// Name as it was asked for, without the source's prefix.
	Name string
	// Source: registry, docker, podman, containerd, oci, archive, dir or sbom.
	Source string
	// Platform is empty where only reading tells.
	Platform plimsoll.Platform
	// BOM is set for an existing bill of materials only; there are no layers
	// to read then.
	BOM *plimsoll.BOM

	read func(context.Context, Reader) (plimsoll.Image, error)
}

// newImage makes an Image of a source. What read returns need not have Name
// and Source set.
func newImage(source, name string, platform plimsoll.Platform, read func(context.Context, Reader) (plimsoll.Image, error)) *Image {
	return &Image{Name: name, Source: source, Platform: platform, read: read}
}

// Read gives every layer that r does not have to r.Layer, and returns what is
// known about the image. Digests and diff IDs of the layers that were read are
// then verified, also where r.Layer could not do that.
func (i *Image) Read(ctx context.Context, r Reader) (plimsoll.Image, error) {
	if r.Have == nil {
		r.Have = func(plimsoll.Digest) bool { return false }
	}
	facts, err := i.read(ctx, r)
	if err != nil {
		return plimsoll.Image{}, err
	}
	facts.Name, facts.Source, facts.Layers = i.Name, i.Source, slices.Clone(facts.Layers)
	return facts, nil
}

// Layer is one layer as its source offers it, for Reader.Layer to read whole.
type Layer struct {
	// Label names the layer: "layer 3 (sha256:0a1b2c3d4e5f)", counted from 0.
	// Errors of Reader.Layer begin with it.
	Label string
	// Stored gives the bytes as stored: a tar stream, plain or compressed.
	// Nil when Files is set.
	Stored io.Reader
	// At reads the same bytes at random, where that costs nothing (a file on
	// disk, which may turn out to be compressed); otherwise nil.
	At io.ReaderAt
	// Size in bytes of Stored, or -1.
	Size int64
	// Digest and DiffID that the bytes must have; empty where the source does
	// not say, or not yet (an engine's stream names them at its end).
	Digest, DiffID plimsoll.Digest
	// Files, instead of Stored, for a directory tree that is no tar stream.
	Files tarstream.Files
	// Gaps, once Files was read to its end, are the parts of the directory
	// tree that could not be read and of which Files gave no error. Nil
	// without Files.
	Gaps func() []plimsoll.Gap
	// Again opens the stored bytes once more, for the rare layer that one pass
	// cannot tell all about. Nil where the source is a stream.
	Again func(context.Context) (io.ReadCloser, error)
}

// Reader takes an image's layers in.
type Reader struct {
	// Have reports whether the layer's report is known already; such a layer
	// is not read where the source can pass over it. Nil: none is known.
	Have func(diffID plimsoll.Digest) bool
	// Layer reads one layer whole, verifies it against Digest and DiffID, and
	// returns its diff ID as computed. Sources with random access call it from
	// Parallel goroutines at once.
	Layer func(context.Context, *Layer) (plimsoll.Digest, error)
	// Parallel layers at most; at least 1.
	Parallel int
}

// blob is some bytes of a source that can be read as often as one likes.
type blob struct {
	io.ReadCloser
	at   io.ReaderAt // nil where that is not for free
	size int64
}

// part is a layer in such a source.
type part struct {
	// name tells the layer's bytes from those of others, and people where
	// they are: a path in an archive, a digest.
	name string
	open func(context.Context) (*blob, error)
}

// readParts gives the layers of img to r, several at once. There is one part
// for each layer.
func readParts(ctx context.Context, r Reader, img plimsoll.Image, parts []part) error {
	type content struct {
		name   string
		diffID plimsoll.Digest
	}
	seen := map[content]bool{}
	var todo []int
	for i, l := range img.Layers {
		c := content{parts[i].name, l.DiffID}
		if !seen[c] && !r.Have(l.DiffID) {
			todo = append(todo, i)
		}
		seen[c] = true // many images have the same empty layer several times
	}
	// The largest first, so that none is left to be read alone at the end.
	slices.SortStableFunc(todo, func(a, b int) int {
		return cmp.Compare(img.Layers[b].Size, img.Layers[a].Size)
	})
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, r.Parallel))
	for _, i := range todo {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return readPart(groupCtx, r, img.Layers[i], parts[i]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // or some layer may not have been started
}

func readPart(ctx context.Context, r Reader, l plimsoll.Layer, p part) error {
	label := layerLabel(l.Index, p.name)
	open := func(ctx context.Context) (*blob, error) {
		b, err := p.open(ctx)
		if err != nil {
			return nil, labelled(label, err)
		}
		return b, nil
	}
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := r.Layer(ctx, &Layer{
		Label:  label,
		Stored: b,
		At:     b.at,
		Size:   b.size,
		Digest: l.Digest,
		DiffID: l.DiffID,
		Again: func(ctx context.Context) (io.ReadCloser, error) {
			b, err := open(ctx)
			if err != nil {
				return nil, err
			}
			return b, nil
		},
	})
	if err != nil {
		return err
	}
	return sameContent(label, l.DiffID, got)
}

// layerLabel names a layer in errors; i counts from 0.
func layerLabel(i int, name string) string { return fmt.Sprintf("layer %d (%s)", i, name) }

// labelled puts the layer's name before err and keeps its hint.
func labelled(label string, err error) error { return fmt.Errorf("%s: %w", label, err) }

// sameContent is the last check of a layer: what was read is what the image
// configuration speaks of. Reader.Layer could know that only where the source
// told it beforehand.
func sameContent(label string, want, got plimsoll.Digest) error {
	if want == got {
		return nil
	}
	return &tarstream.DigestError{Label: label, What: "diff ID", Want: want, Got: got}
}
