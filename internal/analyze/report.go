package analyze

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// reportVersion changes with the form or meaning of Report.
const reportVersion = 1

// Report is everything that merging needs to know of one layer. It depends on
// the layer's content and on what Key names, on nothing else.
type Report struct {
	DiffID plimsoll.Digest `json:"diffID,omitempty"`
	// Files in which detectors found something, ordered by path.
	Files []FileReport `json:"files,omitempty"`
	// Links are the layer's symbolic links, target by path.
	Links map[string]string `json:"links,omitempty"`
	// Hides says what the layer covers up in those below it.
	Hides Hides `json:"hides,omitempty"`
	// Gaps of the layer itself rather than of a file in it.
	Gaps []plimsoll.Gap `json:"gaps,omitempty"`
}

// FileReport is what one detector found in one file.
type FileReport struct {
	Path     string         `json:"path"`
	Detector string         `json:"detector"`
	Found    plimsoll.Found `json:"found"`
}

// Encode is the form in which reports are cached.
func (r *Report) Encode() ([]byte, error) { return json.Marshal(r) }

// DecodeReport is the inverse of Encode.
func DecodeReport(b []byte) (*Report, error) {
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("layer report: %w", err)
	}
	return r, nil
}

// Hides is the set of names by which a layer covers up names of the layers
// below it, as sorted 64-bit numbers: the first bits of the name's SHA-256 (a
// hash that nobody can aim at another's name) and two flags. A layer of half a
// million files costs 4 MB.
type Hides []uint64

const (
	hidesItself uint64 = 1 << iota // the name itself
	hidesBelow                     // everything below the name
	hideFlags   = hidesItself | hidesBelow
)

func nameHash(path string) uint64 {
	sum := sha256.Sum256([]byte(path))
	return binary.LittleEndian.Uint64(sum[:]) &^ hideFlags
}

func (h Hides) flags(name uint64) uint64 {
	i, found := slices.BinarySearchFunc(h, name, func(entry, name uint64) int { return cmp.Compare(entry&^hideFlags, name) })
	if !found {
		return 0
	}
	return h[i] & hideFlags
}

// hide reports whether a file of a lower layer is covered up. names is
// nameHashes of its path.
func (h Hides) hide(names []uint64) bool {
	last := len(names) - 1
	for i, name := range names {
		flag := hidesBelow
		if i == last {
			flag = hidesItself
		}
		if h.flags(name)&flag != 0 {
			return true
		}
	}
	return false
}

// nameHashes are the hashes of the root, of each directory on the way, and of
// the path itself.
func nameHashes(path string) []uint64 {
	names := make([]uint64, 1, 8)
	names[0] = nameHash("")
	for i := range len(path) {
		if path[i] == '/' {
			names = append(names, nameHash(path[:i]))
		}
	}
	return append(names, nameHash(path))
}

// MarshalText writes the numbers as base64, little endian.
func (h Hides) MarshalText() ([]byte, error) {
	raw := make([]byte, 0, 8*len(h))
	for _, v := range h {
		raw = binary.LittleEndian.AppendUint64(raw, v)
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText is the inverse of MarshalText.
func (h *Hides) UnmarshalText(text []byte) error {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(raw, text)
	if err != nil || n%8 != 0 {
		return fmt.Errorf("hides: %d bytes, %v", n, err)
	}
	*h = make(Hides, 0, n/8)
	for raw = raw[:n]; len(raw) > 0; raw = raw[8:] {
		*h = append(*h, binary.LittleEndian.Uint64(raw))
	}
	if !slices.IsSorted(*h) {
		return fmt.Errorf("hides: not sorted")
	}
	return nil
}

// names gathers the names of a layer's entries while it is read: 16 bytes each.
type names struct {
	seen []nameSeen
	dir  string // the directory whose parents were added last
}

type nameSeen struct {
	hash uint64 // with flags
	at   uint32 // the entry's number
	own  bool   // it also replaces what the same layer had there before
}

// add records the entry with number at and what it does to other names.
func (n *names) add(path string, flags uint64, at int, own bool) {
	n.seen = append(n.seen, nameSeen{nameHash(path) | flags, uint32(at), own})
	// A runtime makes the directories above an entry where they are missing,
	// each in the place of a lower layer's file of that name. Entries of one
	// directory mostly stand together, so comparing with the last is enough
	// to keep repetitions few.
	dir := path[:max(strings.LastIndexByte(path, '/'), 0)]
	for d := dir; d != "" && d != n.dir && !strings.HasPrefix(n.dir, d+"/"); d = d[:max(strings.LastIndexByte(d, '/'), 0)] {
		n.seen = append(n.seen, nameSeen{nameHash(d) | hidesItself, uint32(at), false})
	}
	n.dir = dir
}

func (n *names) sort() {
	slices.SortFunc(n.seen, func(a, b nameSeen) int {
		return cmp.Or(cmp.Compare(a.hash&^hideFlags, b.hash&^hideFlags), cmp.Compare(a.at, b.at))
	})
}

// replaced reports whether a later entry of the same layer took the place of
// the file at path, the entry with number at: the same name again, or
// something else than a directory where the path needs one.
func (n *names) replaced(path string, at int) bool {
	hashes := nameHashes(path)
	for i, name := range hashes {
		flag := hidesBelow
		if i == len(hashes)-1 {
			flag = hidesItself
		}
		first, _ := slices.BinarySearchFunc(n.seen, name, func(s nameSeen, name uint64) int { return cmp.Compare(s.hash&^hideFlags, name) })
		for _, s := range n.seen[first:] {
			if s.hash&^hideFlags != name {
				break
			}
			if s.own && s.hash&flag != 0 && int(s.at) > at {
				return true
			}
		}
	}
	return false
}

// hides is the sorted set.
func (n *names) hides() Hides {
	var h Hides
	for _, s := range n.seen {
		if last := len(h) - 1; last >= 0 && h[last]&^hideFlags == s.hash&^hideFlags {
			h[last] |= s.hash & hideFlags
		} else {
			h = append(h, s.hash)
		}
	}
	return h
}
