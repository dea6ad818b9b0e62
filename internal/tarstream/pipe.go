package tarstream

import (
	"context"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"github.com/plimsoll/plimsoll"
)

const (
	chunkSize = 128 << 10
	// chunks in flight in one pipe. A layer has two pipes at most, so this is
	// about all that is held of its content: 1 MiB.
	chunks = 4
)

// pipe reads a source in a goroutine of its own, hashes what it reads, and
// hands it on in chunks. It is the one way in which the stages of a stream
// overlap.
type pipe struct {
	full chan []byte // read, to be consumed
	free chan []byte // consumed, to be filled again
	hash hash.Hash   // complete once full is closed
	n    atomic.Int64
	err  error // why the source ended; nil at its end. Valid once full is closed
	done chan struct{}

	chunk []byte // being consumed, and what is left of it
	rest  []byte
	pos   int64
}

func newPipe(ctx context.Context, source io.Reader, want plimsoll.Digest) *pipe {
	p := &pipe{
		full: make(chan []byte, chunks),
		free: make(chan []byte, chunks),
		hash: newHash(want),
		done: make(chan struct{}),
	}
	for range chunks {
		p.free <- make([]byte, chunkSize)
	}
	go p.fill(ctx, source)
	return p
}

func (p *pipe) fill(ctx context.Context, source io.Reader) {
	defer close(p.done)
	defer close(p.full)
	for {
		var chunk []byte
		select {
		case chunk = <-p.free:
		case <-ctx.Done():
			p.err = context.Cause(ctx)
			return
		}
		n, err := 0, error(nil)
		for n < chunkSize && err == nil {
			var m int
			m, err = source.Read(chunk[n:chunkSize])
			n += m
		}
		if n > 0 {
			p.hash.Write(chunk[:n])
			p.n.Add(int64(n))
			p.full <- chunk[:n] // never blocks: there is room for every chunk
		}
		if err != nil {
			if err != io.EOF {
				p.err = err
			}
			return
		}
	}
}

// next makes rest non-empty, or returns why there is no more.
func (p *pipe) next() error {
	for len(p.rest) == 0 {
		if p.chunk != nil {
			p.free <- p.chunk
			p.chunk = nil
		}
		chunk, ok := <-p.full
		if !ok {
			if p.err != nil {
				return p.err
			}
			return io.EOF
		}
		p.chunk, p.rest = chunk, chunk
	}
	return nil
}

func (p *pipe) Read(b []byte) (int, error) {
	if err := p.next(); err != nil {
		return 0, err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	p.pos += int64(n)
	return n, nil
}

// Seek moves forward, without copying what it passes over: archive/tar uses it
// to skip the content that nobody wants.
func (p *pipe) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.New("tarstream: a stream seeks forward only")
	}
	for offset > 0 {
		if err := p.next(); err != nil {
			if err == io.EOF {
				break // archive/tar notices when it reads on
			}
			return p.pos, err
		}
		n := min(offset, int64(len(p.rest)))
		p.rest = p.rest[n:]
		p.pos += n
		offset -= n
	}
	return p.pos, nil
}

// drain reads the source to its end.
func (p *pipe) drain() error {
	for {
		if err := p.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		p.pos += int64(len(p.rest))
		p.rest = nil
	}
}
