package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
)

const (
	// mostMembers of an archive are remembered. An image of 2000 layers has
	// 8000 in the old form, which is the most talkative.
	mostMembers = 100_000
	// longestMember is the longest name that is: none of those that the tools
	// write has more than 141 bytes.
	longestMember = 256
	// mostLinks are followed from one member to the next.
	mostLinks = 40
)

// saved is an image archive, whichever way it is read: an OCI layout in a tar
// archive, what `docker save` wrote before version 25 (a manifest.json and a
// directory for each layer; github.com/moby/moby, image/spec/v1.2.md), or both
// in one, which it writes since.
type saved struct {
	// links are symbolic and hard links among the members: old versions of
	// Docker wrote a layer.tar as link to the same layer of another image.
	links map[string]string
	// has reports whether there is a file of this name, and small reads one
	// that is not large; errAbsent where there is none.
	has   func(member string) bool
	small func(member string) ([]byte, error)
}

// savedImage is an image of an archive.
type savedImage struct {
	facts  plimsoll.Image
	layers []string // their members
}

// member is a header's name in the form that manifests use. Names that climb
// out are kept in: nothing is ever written.
func member(name string) string {
	return strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
}

// link remembers that name stands for target; symbolic tells whether target
// starts from name's directory.
func (s *saved) link(name, target string, symbolic bool) {
	if symbolic && !strings.HasPrefix(target, "/") {
		target = path.Dir(name) + "/" + target
	}
	if target = member(target); len(target) <= longestMember {
		s.links[name] = target
	}
}

// follow gives the member that name stands for.
func (s *saved) follow(name string) (string, error) {
	start := name
	for range mostLinks {
		target, ok := s.links[name]
		if !ok {
			return name, nil
		}
		name = target
	}
	return "", fmt.Errorf("%s: its links lead in a circle", plain(start))
}

// read reads a small file, through links.
func (s *saved) read(name string) ([]byte, error) {
	target, err := s.follow(name)
	if err != nil {
		return nil, err
	}
	content, err := s.small(target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plain(name), err)
	}
	return content, nil
}

// images gives the images of the archive that ref and o want.
func (s *saved) images(ctx context.Context, ref string, o Options) ([]*savedImage, error) {
	switch {
	case s.has("index.json"):
		return s.ociImages(ctx, ref, o)
	case s.has("manifest.json"):
		img, err := s.dockerImage(ref, o)
		if err != nil {
			return nil, err
		}
		return []*savedImage{img}, nil
	}
	return nil, plimsoll.WithHint(
		errors.New("it has neither an index.json nor a manifest.json: it is no image archive, or not all of one"),
		"make one with docker save or skopeo; for the files of a container, unpack them and write dir:DIRECTORY")
}

func (s *saved) ociImages(ctx context.Context, ref string, o Options) ([]*savedImage, error) {
	index, err := s.read("index.json")
	if err != nil {
		return nil, err
	}
	t := &tree{
		fetch: func(_ context.Context, d descriptor) (*blob, error) {
			content, err := s.read(blobPath(d))
			if err != nil {
				return nil, err
			}
			return inMemory(content), nil
		},
		has: func(d descriptor) bool { return s.has(blobPath(d)) },
	}
	found, err := t.indexed(ctx, index, ref, o)
	if err != nil {
		return nil, err
	}
	var images []*savedImage
	for _, m := range found {
		img := &savedImage{facts: m.facts}
		for _, d := range m.layers {
			img.layers = append(img.layers, blobPath(d))
		}
		images = append(images, img)
	}
	return images, nil
}

// dockerManifestEntry is one image of a manifest.json.
type dockerManifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// blobName is a member whose name promises its digest: in the manner of a
// layout, or just the digest as some tools name configurations and layers.
var blobName = regexp.MustCompile(`^(?:blobs/)?(?:sha256[/:])?([0-9a-f]{64})(?:\.json)?$`)

// promised is the digest that a member's name promises; empty when none.
func promised(name string) plimsoll.Digest {
	if m := blobName.FindStringSubmatch(name); m != nil {
		return plimsoll.Digest("sha256:" + m[1])
	}
	return ""
}

// layerDigest is the digest of the bytes as stored that the name of a layer's
// member promises: only that of a blob does. Others are named by all sorts of
// things.
func layerDigest(name string) plimsoll.Digest {
	algorithm, hexDigits, _ := strings.Cut(strings.TrimPrefix(name, "blobs/"), "/")
	d, err := plimsoll.ParseDigest(algorithm + ":" + hexDigits)
	if err != nil || !strings.HasPrefix(name, "blobs/") {
		return ""
	}
	return d
}

func (s *saved) dockerImage(ref string, o Options) (*savedImage, error) {
	content, err := s.read("manifest.json")
	if err != nil {
		return nil, err
	}
	var entries []dockerManifestEntry
	if err := json.Unmarshal(content, &entries); err != nil {
		return nil, fmt.Errorf("parsing manifest.json: %w", err)
	}
	entry, err := pickEntry(entries, ref)
	if err != nil {
		return nil, err
	}
	name := member(entry.Config)
	if content, err = s.read(name); err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	id := plimsoll.SHA256(content)
	if want := promised(name); want != "" && want != id {
		return nil, altered("image configuration "+plain(name), want, id)
	}
	cfg, err := parseConfig(content)
	if err != nil {
		return nil, err
	}
	img := &savedImage{facts: cfg.facts()}
	img.facts.ID, img.facts.Tags = id, entry.RepoTags
	if len(entry.Layers) != len(img.facts.Layers) {
		return nil, fmt.Errorf("manifest.json names %d layers, but the image configuration has %d diff IDs", len(entry.Layers), len(img.facts.Layers))
	}
	for i, l := range entry.Layers {
		path := member(l)
		img.layers = append(img.layers, path)
		img.facts.Layers[i].Digest = layerDigest(path)
	}
	if o.Platform != "" && !o.AllPlatforms {
		want, err := parsePlatform(o.Platform)
		if err != nil {
			return nil, err
		}
		if fit(want, img.facts.Platform) == 0 {
			return nil, fmt.Errorf("there is no image for %s, only for %s", want, img.facts.Platform)
		}
	}
	return img, nil
}

// pickEntry picks the image that ref names.
func pickEntry(entries []dockerManifestEntry, ref string) (*dockerManifestEntry, error) {
	if len(entries) == 0 {
		return nil, errors.New("manifest.json names no image")
	}
	if ref == "" && len(entries) == 1 {
		return &entries[0], nil
	}
	var names []string
	for i, e := range entries {
		id := promised(member(e.Config))
		if ref != "" && (strings.TrimPrefix(ref, "@") == string(id) ||
			slices.ContainsFunc(e.RepoTags, func(tag string) bool { return sameName(tag, ref) })) {
			return &entries[i], nil
		}
		if len(e.RepoTags) > 0 {
			names = append(names, quoteAll(e.RepoTags)...)
		} else {
			names = append(names, "@"+string(id))
		}
	}
	if ref != "" {
		return nil, plimsoll.WithHint(fmt.Errorf("there is no image %s", quote(ref)), "it has "+list(names))
	}
	return nil, plimsoll.WithHint(
		fmt.Errorf("there are several images: %s", list(names)), "say which one, with a colon and its name behind the path")
}
