package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// errTruncated is an archive that ends too early.
var errTruncated = errors.New("the archive is truncated")

// readArchiveStream reads an image archive in one pass, of either form and
// compressed or not. Layers come before anything tells which image they belong
// to, so each is read as it passes by, and only at the end is it known whether
// they are what the image's configuration says. ref picks one of several
// images; empty where there is only one.
func readArchiveStream(ctx context.Context, r io.Reader, ref string, o Options, rd Reader) (plimsoll.Image, error) {
	plainTar, err := inflated(r, o.Limits)
	if err != nil {
		return plimsoll.Image{}, err
	}
	defer plainTar.Close()
	s, err := readStream(ctx, plainTar, o.Limits, rd)
	if err != nil {
		return plimsoll.Image{}, err
	}
	// What follows the archive's end is nothing to us, but the checksum of the
	// compression does, and who writes to a pipe wants to get rid of it all.
	if _, err := io.Copy(io.Discard, plainTar); err != nil {
		return plimsoll.Image{}, fmt.Errorf("reading the archive: %w", truncated(err))
	}
	images, err := s.images(ctx, ref, o)
	if err != nil {
		return plimsoll.Image{}, err
	}
	if len(images) > 1 {
		return plimsoll.Image{}, plimsoll.WithHint(
			errors.New("the archive has images for several platforms, and a stream is read once"),
			"choose one with --platform, or save the archive to a plain tar file")
	}
	return s.check(ctx, images[0])
}

// readStream lets a plain archive pass by to its end.
func readStream(ctx context.Context, r io.Reader, limits plimsoll.Limits, rd Reader) (*stream, error) {
	s := &stream{rd: rd, members: map[string]*streamed{}}
	s.saved = saved{links: map[string]string{}, has: s.has, small: s.small}
	return s, eachMember(ctx, r, limits, func(h *tar.Header, content io.Reader) error {
		return s.entry(ctx, h, content)
	})
}

// eachMember gives take the members of a plain archive, one after the other.
func eachMember(ctx context.Context, r io.Reader, limits plimsoll.Limits, take func(h *tar.Header, content io.Reader) error) error {
	archive := tar.NewReader(r) // seeks over what is not read, where r can
	for n := int64(0); ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // nothing is written
			return fmt.Errorf("reading the archive: %w", truncated(err))
		}
		if n >= limits.Entries {
			return fmt.Errorf("the archive has more than %d entries, the limit that --max-entries sets", limits.Entries)
		}
		if err := take(h, archive); err != nil {
			return err
		}
	}
}

// truncated gives the end of the archive in its middle a name.
func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}

// stream is an archive while it passes by.
type stream struct {
	saved
	rd      Reader
	members map[string]*streamed
	held    int64 // bytes of small files
}

// streamed is a file of the archive that has passed by.
type streamed struct {
	size    int64
	content []byte // kept, if small
	// layer tells that it was read as one, and diffID how that went.
	layer  bool
	diffID plimsoll.Digest
	// named tells that it was not read: its name says what it is, and that
	// layer is known.
	named bool
}

func (s *stream) has(name string) bool {
	name, err := s.follow(name)
	return err == nil && s.members[name] != nil
}

func (s *stream) small(name string) ([]byte, error) {
	m := s.members[name]
	switch {
	case m == nil:
		return nil, errAbsent
	case m.layer:
		return nil, errors.New("it is no JSON document but a layer")
	case m.content == nil && m.size > 0:
		return nil, fmt.Errorf("it has %d bytes; more than %d MiB in one document and %d MiB in all are not kept of a stream", m.size, jsonLimit>>20, treeLimit>>20)
	}
	return m.content, nil
}

// relevant tells the members that may describe an image or be a layer from the
// files of a root file system, should the archive be one.
func relevant(name string) bool {
	if !strings.Contains(name, "/") || strings.HasPrefix(name, "blobs/") {
		return true
	}
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".json"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// layerName is how skopeo and podman name a layer in the old form: by its diff
// ID.
var layerName = regexp.MustCompile(`^([0-9a-f]{64})\.tar$`)

func (s *stream) entry(ctx context.Context, h *tar.Header, r io.Reader) error {
	name := member(h.Name)
	if len(name) > longestMember || !relevant(name) {
		return nil
	}
	if len(s.members)+len(s.links) >= mostMembers {
		return fmt.Errorf("the archive has more than %d members that may be layers or describe them", mostMembers)
	}
	// The last of several members of one name counts, as for who unpacks them.
	delete(s.members, name)
	delete(s.links, name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		s.link(name, h.Linkname, true)
	case tar.TypeLink:
		s.link(name, h.Linkname, false)
	case tar.TypeReg, tar.TypeGNUSparse:
		m := &streamed{size: h.Size}
		s.members[name] = m
		return s.file(ctx, name, m, r)
	}
	return nil
}

func (s *stream) file(ctx context.Context, name string, m *streamed, r io.Reader) error {
	var buf [sniffSize]byte
	n, err := io.ReadFull(r, buf[:min(m.size, sniffSize)])
	if err != nil {
		return fmt.Errorf("%s: %w", plain(name), truncated(err))
	}
	head := buf[:n]
	switch sniff(head) {
	case isTar, isGzip, isZstd:
	default:
		if m.size > jsonLimit || s.held+m.size > treeLimit {
			return nil
		}
		s.held += m.size
		m.content = make([]byte, m.size) // bounded above
		copy(m.content, head)
		if _, err := io.ReadFull(r, m.content[n:]); err != nil {
			return fmt.Errorf("%s: %w", plain(name), truncated(err))
		}
		return nil
	}

	m.layer = true
	digest := layerDigest(name)
	claimed := digest
	if match := layerName.FindStringSubmatch(name); match != nil {
		claimed = plimsoll.Digest("sha256:" + match[1])
	}
	if claimed != "" && s.rd.Have(claimed) {
		m.diffID, m.named = claimed, true
		return nil
	}
	m.diffID, err = s.rd.Layer(ctx, &Layer{
		Label:  "layer " + plain(name),
		Stored: &whole{io.MultiReader(bytes.NewReader(head), r)},
		Size:   m.size,
		Digest: digest,
	})
	return err
}

// whole gives the truncation of the archive inside a layer its name.
type whole struct{ r io.Reader }

func (w *whole) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if err != nil {
		err = truncated(err)
	}
	return n, err
}

// check compares what has passed by with what the image says of itself.
func (s *stream) check(ctx context.Context, img *savedImage) (plimsoll.Image, error) {
	for i, path := range img.layers {
		label := layerLabel(i, plain(path))
		l := &img.facts.Layers[i]
		target, err := s.follow(path)
		if err != nil {
			return plimsoll.Image{}, labelled(label, err)
		}
		m := s.members[target]
		if m == nil {
			return plimsoll.Image{}, labelled(label, fmt.Errorf("the archive does not have it: %w", errAbsent))
		}
		if !m.layer {
			if err := s.late(ctx, label, l, m); err != nil {
				return plimsoll.Image{}, err
			}
		}
		if l.Size == 0 {
			l.Size = m.size
		}
		if l.Size != m.size {
			return plimsoll.Image{}, labelled(label, fmt.Errorf("it has %d bytes, not %d as its descriptor says", m.size, l.Size))
		}
		if m.named && m.diffID != l.DiffID {
			return plimsoll.Image{}, labelled(label, fmt.Errorf("its name says that it is %s, but the image configuration says %s", m.diffID, l.DiffID))
		}
		if err := sameContent(label, l.DiffID, m.diffID); err != nil {
			return plimsoll.Image{}, err
		}
	}
	return img.facts, nil
}

// late reads a layer that did not look like one when it passed by.
func (s *stream) late(ctx context.Context, label string, l *plimsoll.Layer, m *streamed) error {
	if m.content == nil && m.size > 0 {
		return labelled(label, errors.New("it is neither a tar archive nor compressed with gzip or zstd"))
	}
	b := inMemory(m.content)
	var err error
	m.diffID, err = s.rd.Layer(ctx, &Layer{
		Label: label, Stored: b, At: b.at, Size: b.size, Digest: l.Digest, DiffID: l.DiffID,
		Again: func(context.Context) (io.ReadCloser, error) { return inMemory(m.content), nil },
	})
	m.layer = err == nil
	return err
}

// inMemory is a blob that was kept.
func inMemory(content []byte) *blob {
	r := bytes.NewReader(content)
	return &blob{ReadCloser: io.NopCloser(r), at: r, size: int64(len(content))}
}

// plain shows a name inside a sentence: short and without control characters.
func plain(name string) string {
	q := strconv.Quote(name)
	if len(q) > 202 {
		q = q[:200] + "…\""
	}
	return q[1 : len(q)-1]
}
