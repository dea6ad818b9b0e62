// Package format holds what the interchange formats share: their options, a
// way to carry hostile text through JSON, SPDX licence expressions, package
// URLs as other tools write them, and JSON documents that are written and read
// one element at a time, within limits.
package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"time"
)

// Options of an encoder. The same BOM and the same options give the same bytes.
type Options struct {
	// Version of Plimsoll, to be named as the tool that wrote the document.
	Version string
	// Timestamp of the document; zero takes the time the image was created.
	Timestamp time.Time
	// Seed goes into the document's unique name (the serial number of
	// CycloneDX, the namespace of SPDX) beside what the BOM says. Two
	// documents about the same BOM need two seeds to have two names.
	Seed string
	// AllLayers writes the BOM's history too: components of lower layers that
	// are not there any more.
	AllLayers bool
}

// ID collects what makes something unique and gives it a name.
type ID struct {
	sum hash.Hash
	buf []byte
}

// NewID starts from a seed.
func NewID(seed string) *ID {
	id := &ID{sum: sha256.New()}
	id.Add(seed)
	return id
}

// Add takes in strings; ("ab", "c") and ("a", "bc") differ.
func (id *ID) Add(parts ...string) {
	for _, p := range parts {
		id.buf = binary.LittleEndian.AppendUint64(id.buf[:0], uint64(len(p)))
		id.buf = append(id.buf, p...)
		id.sum.Write(id.buf)
	}
}

// Short is twelve hexadecimal digits.
func (id *ID) Short() string { return hex.EncodeToString(id.sum.Sum(nil)[:6]) }

// UUID of all that was added: version 8 of RFC 9562, custom content, because
// version 5 is bound to SHA-1.
func (id *ID) UUID() string {
	u := id.sum.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Kind is one of the document formats.
type Kind string

const (
	CycloneDX Kind = "cyclonedx"
	SPDX      Kind = "spdx"
	Plimsoll  Kind = "plimsoll" // our own JSON, docs/bom.md
	// Foreign: a bill of materials in a form that is not read, such as
	// CycloneDX XML and SPDX tag-value.
	Foreign Kind = "foreign"
)

// Sniff tells from a document's first bytes (4 KiB are enough for what known
// tools write) which format it is in; "" when it looks like none of them.
func Sniff(head []byte) Kind {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	if bytes.HasPrefix(text, []byte("{")) {
		switch {
		case bytes.Contains(text, []byte(`"bomFormat"`)), bytes.Contains(text, []byte(`cyclonedx.org/schema/bom`)):
			return CycloneDX
		case bytes.Contains(text, []byte(`"spdxVersion"`)), bytes.Contains(text, []byte(`"SPDXRef-DOCUMENT"`)):
			return SPDX
		case bytes.Contains(text, []byte(`"plimsoll/bom/`)):
			return Plimsoll
		case bytes.Contains(text, []byte(`spdx.org/rdf/3`)):
			return Foreign
		}
		return ""
	}
	switch {
	case bytes.HasPrefix(text, []byte("<")) &&
		(bytes.Contains(text, []byte("cyclonedx.org/schema/bom")) || bytes.Contains(text, []byte("spdx.org/rdf"))),
		bytes.HasPrefix(text, []byte("SPDXVersion:")):
		return Foreign
	}
	return ""
}
