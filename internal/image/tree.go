package image

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/plimsoll/plimsoll"
)

const (
	// jsonLimit of one index, manifest or configuration. Registries take
	// manifests of 4 MiB at most (OCI distribution specification, "Pushing
	// Manifests").
	jsonLimit = 4 << 20
	// treeLimit of all those that are read to open one name.
	treeLimit = 32 << 20
	// fetchLimit is how many of those.
	fetchLimit = 1000
	// nesting of indexes in indexes.
	nesting = 4
)

// errAbsent is content that a local source does not hold.
var errAbsent = errors.New("it is not there")

// tree reads what describes an image: indexes, manifests and configurations,
// each named by its digest. One is made for each name that is opened.
type tree struct {
	// fetch opens what d names; an error that is errAbsent where it is not held.
	fetch func(ctx context.Context, d descriptor) (*blob, error)
	// has tells what fetch would find, for sources that are often incomplete
	// on purpose: engines save one platform of an index. Nil otherwise.
	has func(descriptor) bool
	// read so far: bytes, and how many times.
	read, fetched int64
}

// manifested is an image whose manifest and configuration were read and
// verified.
type manifested struct {
	facts  plimsoll.Image
	layers []descriptor
}

// json reads what d names, whole, and verifies size and digest.
func (t *tree) json(ctx context.Context, d descriptor) ([]byte, error) {
	if d.Size > jsonLimit {
		return nil, fmt.Errorf("%s has %d bytes; manifests and configurations over %d MiB are not read", d.Digest, d.Size, jsonLimit>>20)
	}
	if t.fetched++; t.fetched > fetchLimit {
		return nil, fmt.Errorf("more than %d manifests and configurations", fetchLimit)
	}
	b, err := t.fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	content, err := t.limited(b)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.Digest, err)
	}
	if got := digestLike(d.Digest, content); got != d.Digest {
		return nil, altered(string(d.Digest), d.Digest, got)
	}
	if int64(len(content)) != d.Size {
		return nil, fmt.Errorf("%s has %d bytes, not %d as its descriptor says", d.Digest, len(content), d.Size)
	}
	return content, nil
}

// limited reads r whole within the limits.
func (t *tree) limited(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, jsonLimit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > jsonLimit {
		return nil, fmt.Errorf("more than %d MiB, which no manifest or configuration needs", jsonLimit>>20)
	}
	if t.read += int64(len(content)); t.read > treeLimit {
		return nil, fmt.Errorf("the manifests and configurations have more than %d MiB together", treeLimit>>20)
	}
	return content, nil
}

// digestLike hashes content with the algorithm of d.
func digestLike(d plimsoll.Digest, content []byte) plimsoll.Digest {
	if d.Algorithm() == "sha512" {
		sum := sha512.Sum512(content)
		return plimsoll.Digest("sha512:" + hex.EncodeToString(sum[:]))
	}
	sum := sha256.Sum256(content)
	return plimsoll.DigestOf(sum[:])
}

func altered(what string, want, got plimsoll.Digest) error {
	return plimsoll.WithHint(
		fmt.Errorf("%s was altered: its content has the digest %s, not %s", what, got, want),
		"get the image again from where it was built")
}

// candidate is an image of an index that may be the one that is wanted.
type candidate struct {
	descriptor
	tags   []string
	doc    *document   // when it was read already
	loaded *manifested // likewise
}

// images gives the images that o wants of those that start from.
func (t *tree) images(ctx context.Context, start []descriptor, o Options) ([]*manifested, error) {
	all, err := t.flatten(ctx, start, nil, nesting)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("the index names no image")
	}
	chosen, err := t.choose(ctx, all, len(start) > 1, o)
	if err != nil {
		return nil, err
	}
	var images []*manifested
	for _, c := range chosen {
		m, err := t.load(ctx, c)
		if err != nil {
			return nil, err
		}
		images = append(images, m)
	}
	return images, nil
}

// flatten follows nested indexes. It leaves out what is no image, attestations
// for one, and what is there twice.
func (t *tree) flatten(ctx context.Context, entries []descriptor, tags []string, depth int) ([]*candidate, error) {
	var all []*candidate
	byDigest := map[plimsoll.Digest]*candidate{}
	add := func(c *candidate) {
		if same := byDigest[c.Digest]; same != nil {
			same.tags = union(same.tags, c.tags)
			return
		}
		byDigest[c.Digest] = c
		all = append(all, c)
	}
	for _, d := range entries {
		if d.MediaType == "" {
			d.MediaType = ociManifest
		}
		if d.isAttestation() || !d.isManifest() {
			continue
		}
		c := &candidate{descriptor: d, tags: d.names()}
		if len(c.tags) == 0 {
			c.tags = tags
		}
		if t.has != nil && !t.has(d) {
			add(c)
			continue
		}
		// What has a platform is an image. For the rest, only the content
		// tells an index from an image: media types are often wrong.
		if d.Platform == (plimsoll.Platform{}) || d.MediaType == ociIndex || d.MediaType == dockerIndex {
			if err := t.parse(ctx, c); err != nil {
				return nil, err
			}
		}
		if c.doc == nil || !c.doc.isIndex() {
			add(c)
			continue
		}
		if depth == 0 {
			return nil, fmt.Errorf("index %s: more than %d indexes within one another", d.Digest, nesting)
		}
		nested, err := t.flatten(ctx, c.doc.Manifests, c.tags, depth-1)
		if err != nil {
			return nil, err
		}
		for _, c := range nested {
			add(c)
		}
	}
	return all, nil
}

func union(a, b []string) []string {
	a = slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// parse reads the manifest, unless that was done.
func (t *tree) parse(ctx context.Context, c *candidate) error {
	if c.doc != nil {
		return nil
	}
	content, err := t.json(ctx, c.descriptor)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if c.doc, err = parseDocument(content); err != nil {
		return fmt.Errorf("manifest %s: %w", c.Digest, err)
	}
	return nil
}

// choose picks the platforms that are wanted. An index may list one platform
// twice, such as with two compressions, and then the first counts; unless the
// images were put together for another reason: then they are apart.
func (t *tree) choose(ctx context.Context, all []*candidate, apart bool, o Options) ([]*candidate, error) {
	if t.has != nil {
		held := slices.DeleteFunc(slices.Clone(all), func(c *candidate) bool { return !t.has(c.descriptor) })
		if len(held) == 0 {
			return nil, fmt.Errorf("manifest %s: %w", all[0].Digest, errAbsent)
		}
		all = held
	}
	if o.AllPlatforms || len(all) == 1 && o.Platform == "" {
		return all, nil
	}
	want := hostPlatform()
	if o.Platform != "" {
		var err error
		if want, err = parsePlatform(o.Platform); err != nil {
			return nil, err
		}
	}
	var best, second *candidate
	most := 0
	var there []string
	for _, c := range all {
		if c.Platform == (plimsoll.Platform{}) {
			m, err := t.load(ctx, c)
			if err != nil {
				return nil, err
			}
			c.Platform = m.facts.Platform
		}
		if n := fit(want, c.Platform); n > most {
			best, second, most = c, nil, n
		} else if n > 0 && n == most {
			second = c
		}
		if name := c.Platform.String(); !slices.Contains(there, name) {
			there = append(there, name)
		}
	}
	if best == nil {
		return nil, plimsoll.WithHint(
			fmt.Errorf("there is no image for %s, only for %s", want, list(there)),
			"choose one with --platform, or --all-platforms")
	}
	if apart && second != nil {
		return nil, plimsoll.WithHint(
			fmt.Errorf("there are several images for %s: %s, %s", want, best.Digest, second.Digest),
			"say which one, with @ and its digest behind the path")
	}
	return []*candidate{best}, nil
}

// load reads the manifest and the configuration of an image.
func (t *tree) load(ctx context.Context, c *candidate) (*manifested, error) {
	if c.loaded != nil {
		return c.loaded, nil
	}
	if err := t.parse(ctx, c); err != nil {
		return nil, err
	}
	if c.doc.isIndex() {
		return nil, fmt.Errorf("manifest %s is an index, although its descriptor names a platform", c.Digest)
	}
	switch c.doc.Config.MediaType {
	case ociConfig, dockerConfig, "", "application/octet-stream":
	default:
		return nil, fmt.Errorf("manifest %s is no container image: its configuration is of the type %s", c.Digest, quote(c.doc.Config.MediaType))
	}
	content, err := t.json(ctx, *c.doc.Config)
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	cfg, err := parseConfig(content)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", c.Digest, err)
	}
	m := &manifested{facts: cfg.facts(), layers: c.doc.Layers}
	if len(m.facts.Layers) != len(m.layers) {
		return nil, fmt.Errorf("manifest %s has %d layers, but its configuration has %d diff IDs", c.Digest, len(m.layers), len(m.facts.Layers))
	}
	if m.facts.Platform.String() == "" {
		m.facts.Platform = c.Platform
	}
	m.facts.Digest, m.facts.ID, m.facts.Tags = c.Digest, c.doc.Config.Digest, c.tags
	for i, l := range m.layers {
		layer := &m.facts.Layers[i]
		layer.Digest, layer.Size, layer.MediaType = l.Digest, l.Size, l.MediaType
	}
	c.loaded = m
	return m, nil
}

// parts are the layers of the image, opened by open.
func (m *manifested) parts(open func(context.Context, descriptor) (*blob, error)) []part {
	parts := make([]part, len(m.layers))
	for i, d := range m.layers {
		parts[i] = part{
			name: d.Digest.Algorithm() + ":" + d.Digest.Short(),
			open: func(ctx context.Context) (*blob, error) {
				b, err := open(ctx, d)
				if err != nil && len(d.URLs) > 0 {
					return nil, fmt.Errorf("%w; the manifest points elsewhere for it, to %s, which is never followed", err, quote(d.URLs[0]))
				}
				return b, err
			},
		}
	}
	return parts
}
