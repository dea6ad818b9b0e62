// Package image opens an image wherever it is (registry, engine, archive,
// layout, directory, bill of materials) and hands out its layers as streams.
// Nothing is unpacked and nothing is saved to disk.
package image

import (
	"context"
	"io"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

// Layer is one layer as its source offers it, for Reader.Layer to read whole.
type Layer struct {
	// Label names the layer in errors: "layer 3 (sha256:0a1b2c3d4e5f)".
	Label string
	// Stored gives the bytes as stored: a tar stream, plain or compressed.
	// Nil when Files is set.
	Stored io.Reader
	// At reads the same bytes at random, where that costs nothing (a plain
	// file); otherwise nil.
	At io.ReaderAt
	// Size in bytes of Stored, or -1.
	Size int64
	// Digest and DiffID that the bytes must have; empty where the source does
	// not say, or not yet (an engine's stream names them at its end).
	Digest, DiffID plimsoll.Digest
	// Files, instead of Stored, for a directory tree that is no tar stream.
	Files tarstream.Files
	// Again opens the stored bytes once more, for the rare layer that one pass
	// cannot tell all about. Nil where the source is a stream.
	Again func(context.Context) (io.ReadCloser, error)
}

// Reader takes an image's layers in.
type Reader struct {
	// Have reports whether the layer's report is known already; such a layer
	// is not read where the source can pass over it.
	Have func(diffID plimsoll.Digest) bool
	// Layer reads one layer whole, verifies it against Digest and DiffID, and
	// returns its diff ID as computed. Sources with random access call it from
	// Parallel goroutines at once.
	Layer func(context.Context, *Layer) (plimsoll.Digest, error)
	// Parallel layers at most; at least 1.
	Parallel int
}
