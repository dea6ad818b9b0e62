package tarstream

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll/plimsoll"
)

const (
	// ratioGrace is how much a stream may give before its expansion counts:
	// small layers of zeros compress a thousandfold and harm nobody.
	ratioGrace = 64 << 20
	// zstdWindow is the largest back reference that is kept in memory. zstd
	// needs --ultra or --long to go beyond 8 MiB.
	zstdWindow = 32 << 20
)

// Options say what a layer's stream must be.
type Options struct {
	// Label names the layer in errors.
	Label string
	// Digest of the bytes as stored and DiffID of the uncompressed stream;
	// each is verified unless empty.
	Digest, DiffID plimsoll.Digest
	// At, if not nil, reads the stored bytes at random. It serves the content
	// of files when the stream turns out not to be compressed.
	At     io.ReaderAt
	Limits plimsoll.Limits
}

// DigestError is content that does not have the digest it is stored under.
type DigestError struct {
	Label     string
	What      string // "digest" or "diff ID"
	Want, Got plimsoll.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s was altered: its content has the %s %s, not %s", e.Label, e.What, e.Got, e.Want)
}

// LimitError is a limit reached by the stream as a whole.
type LimitError struct {
	Label, What string
	Flag        string // the command line flag that sets the limit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %s, the limit that %s sets", e.Label, e.What, e.Flag)
}

// Stream is one layer being read. It implements Files.
type Stream struct {
	o      Options
	stored *pipe // the bytes as stored
	plain  *pipe // the tar stream; the same pipe where nothing is compressed
	cancel context.CancelFunc

	tar     *tar.Reader
	entries int64
	entry   Entry
	head    [plimsoll.HeadSize]byte
	unread  []byte // of the head, not yet given out by Read
	data    int64  // offset of the content in the tar stream; -1 where it is not in one piece
	err     error  // what Next returns from now on
}

// Open starts to read a layer's stored bytes from r: gzip, zstd or a plain tar
// stream, told by their first bytes, whatever a manifest calls them. Close
// must be called; r is not read any more once Close has returned.
func Open(ctx context.Context, r io.Reader, o Options) (*Stream, error) {
	magic := make([]byte, 6)
	n, err := io.ReadFull(r, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%s: %w", o.Label, err)
	}
	magic = magic[:n]
	source := io.MultiReader(bytes.NewReader(magic), r)

	var inflate func(io.Reader) (io.ReadCloser, error)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		inflate = func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
	case isZstd(magic):
		inflate = func(r io.Reader) (io.ReadCloser, error) {
			// One goroutine: the pipes already overlap inflating with the rest.
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, err
			}
			return d.IOReadCloser(), nil
		}
	case bytes.HasPrefix(magic, []byte("BZh")), bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return nil, fmt.Errorf("%s: compressed with bzip2 or xz; a layer is gzip, zstd or plain", o.Label)
	}

	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{o: o, cancel: cancel}
	if inflate == nil {
		want := o.Digest
		if want == "" {
			want = o.DiffID
		}
		s.stored = newPipe(ctx, source, want)
		s.plain = s.stored
		if o.DiffID != "" && o.DiffID.Algorithm() != want.Algorithm() {
			s.plain = newPipe(ctx, s.stored, o.DiffID) // for its other hash
		}
	} else {
		s.stored = newPipe(ctx, source, o.Digest)
		s.plain = newPipe(ctx, &inflater{open: inflate, stored: s.stored, o: &s.o}, o.DiffID)
	}
	s.tar = tar.NewReader(s.plain)
	return s, nil
}

// isZstd: a frame, or a skippable frame before it (RFC 8878, section 3.1).
func isZstd(magic []byte) bool {
	return bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18})
}

func newHash(want plimsoll.Digest) hash.Hash {
	if want.Algorithm() == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

func sum(h hash.Hash) plimsoll.Digest {
	b := h.Sum(nil)
	if len(b) == sha512.Size {
		return plimsoll.Digest(fmt.Sprintf("sha512:%x", b))
	}
	return plimsoll.DigestOf(b)
}

// inflater decompresses the stored bytes. It opens itself at the first Read,
// so that the header is read in the pipe's goroutine.
type inflater struct {
	open   func(io.Reader) (io.ReadCloser, error)
	stored *pipe
	o      *Options
	out    io.ReadCloser
	given  int64
}

func (i *inflater) Read(b []byte) (int, error) {
	if i.out == nil {
		// A bufio.Reader, because klauspost's inflate has a fast path for it.
		out, err := i.open(bufio.NewReaderSize(i.stored, 64<<10))
		if err != nil {
			return 0, noEOF(err)
		}
		i.out = out
	}
	n, err := i.out.Read(b)
	i.given += int64(n)
	if i.given > ratioGrace && i.given/i.o.Limits.Ratio > i.stored.n.Load() {
		err = &LimitError{i.o.Label, fmt.Sprintf("it expands more than %d-fold", i.o.Limits.Ratio), "--max-ratio"}
	}
	if err != nil {
		_ = i.out.Close() // gives its buffers back; it has no error of its own
	}
	return n, err
}

// noEOF keeps a stream that ends too early from looking like one that ends.
func noEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("truncated")
	}
	return err
}

// Next implements Files. It returns io.EOF only when the layer was read to its
// end and both digests are what they must be.
func (s *Stream) Next() (*Entry, error) {
	for s.err == nil {
		h, err := s.tar.Next()
		if err == io.EOF {
			if err = s.plain.drain(); err == nil {
				if err = s.verify(); err == nil {
					s.err = io.EOF
					break
				}
			}
		}
		if err != nil {
			s.err = s.explain(err)
			break
		}
		if s.entries++; s.entries > s.o.Limits.Entries {
			s.err = &LimitError{s.o.Label, fmt.Sprintf("it has more than %d entries", s.o.Limits.Entries), "--max-entries"}
			break
		}
		if !s.entry.set(h) {
			continue
		}
		s.data, s.unread = -1, nil
		if s.entry.Kind == Regular {
			if !isSparse(h) {
				s.data = s.plain.pos
			}
			n, err := io.ReadFull(s.tar, s.head[:min(s.entry.Size, plimsoll.HeadSize)])
			if err != nil {
				s.err = s.explain(fmt.Errorf("%q: %w", s.entry.Path, noEOF(err)))
				break
			}
			s.entry.Head = s.head[:n]
			s.unread = s.entry.Head
		}
		return &s.entry, nil
	}
	return nil, s.err
}

// Read implements Files.
func (s *Stream) Read(b []byte) (int, error) {
	if len(s.unread) > 0 {
		n := copy(b, s.unread)
		s.unread = s.unread[n:]
		return n, nil
	}
	n, err := s.tar.Read(b)
	if err != nil && err != io.EOF {
		s.err = s.explain(fmt.Errorf("%q: %w", s.entry.Path, err))
		err = s.err
	}
	return n, err
}

// Section implements Files: for an uncompressed stream whose source reads at
// random. The bytes are those whose digest is verified as they pass by.
func (s *Stream) Section() *io.SectionReader {
	if s.stored != s.plain || s.o.At == nil || s.data < 0 {
		return nil
	}
	return io.NewSectionReader(s.o.At, s.data, s.entry.Size)
}

// verify compares both digests; the stream has been read to its end.
func (s *Stream) verify() error {
	if err := s.verifyStored(); err != nil {
		return err
	}
	if got := s.DiffID(); s.o.DiffID != "" && got != s.o.DiffID {
		return &DigestError{s.o.Label, "diff ID", s.o.DiffID, got}
	}
	return nil
}

// verifyStored compares what can be known of the stored bytes alone.
func (s *Stream) verifyStored() error {
	got := s.Digest()
	if s.o.Digest != "" && got != s.o.Digest {
		return &DigestError{s.o.Label, "digest", s.o.Digest, got}
	}
	if s.stored == s.plain && s.o.DiffID != "" && got != s.o.DiffID {
		return &DigestError{s.o.Label, "diff ID", s.o.DiffID, got}
	}
	return nil
}

// explain turns an error of the stream into one that says what is wrong with
// the layer. Where content cannot be read, that it was altered is the better
// explanation, so the stored bytes are read to their end and their digest
// checked first.
func (s *Stream) explain(err error) error {
	var limit *LimitError
	var altered *DigestError
	if errors.As(err, &limit) || errors.As(err, &altered) {
		return err
	}
	if s.stored != s.plain {
		// The inflater reads stored; wait until it has stopped.
		_ = s.plain.drain()
		<-s.plain.done
	}
	if s.stored.drain() == nil {
		if altered := s.verifyStored(); altered != nil {
			return fmt.Errorf("%w (%w)", altered, err)
		}
	}
	return fmt.Errorf("%s: %w", s.o.Label, err)
}

// DiffID is the digest of the uncompressed stream; valid at io.EOF of Next.
func (s *Stream) DiffID() plimsoll.Digest { return sum(s.plain.hash) }

// Digest is that of the stored bytes; valid at io.EOF of Next.
func (s *Stream) Digest() plimsoll.Digest { return sum(s.stored.hash) }

// Size in bytes as stored, so far.
func (s *Stream) Size() int64 { return s.stored.n.Load() }

// Close stops reading and waits until the source is not used any more.
func (s *Stream) Close() {
	s.cancel()
	for _, p := range []*pipe{s.plain, s.stored} {
		<-p.done
	}
}
